"""What ``llm.windows`` says of some windows: to tell which stage has them wrong."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.support.broker import read_all

__all__ = ["Partial", "partials_of", "tell"]


@dataclass(frozen=True, slots=True)
class Partial:
    """A partial window in the log: which message, from whom, with how many requests."""

    record: int
    source: str
    epoch: str
    sequence: int
    up_to_offset: int | None
    requests: int


@dataclass(slots=True)
class _Found:
    partials: list[Partial] = field(default_factory=list)

    def lines(self) -> Iterable[str]:
        seen: set[tuple[str, str, int]] = set()
        total = 0
        for partial in self.partials:
            name = (partial.source, partial.epoch, partial.sequence)
            total += 0 if name in seen else partial.requests
            seen.add(name)
            yield (
                f"record {partial.record}: {partial.source} epoch {partial.epoch[:6]} "
                f"sequence {partial.sequence} up to {partial.up_to_offset}: {partial.requests}"
            )
        yield f"{total} requests in all partials"


async def partials_of(
    bootstrap: str, windows: Collection[tuple[Any, ...]]
) -> dict[tuple[Any, ...], list[Partial]]:
    """Return partials by (window start, provider, model, version, route, feature)."""
    found: dict[tuple[Any, ...], _Found] = {key: _Found() for key in windows}
    for record, (_, value) in enumerate(await read_all(bootstrap, "llm.windows")):
        batch = json.loads(value or b"{}")
        for partial in batch.get("partials", ()):
            labels = partial["labels"]
            names = ("provider", "model", "model_version", "route", "feature")
            key = (partial["window_start_us"], *(labels.get(name, "") for name in names))
            if key in found:
                found[key].partials.append(
                    Partial(
                        record,
                        batch["source"],
                        batch["epoch"],
                        batch["sequence"],
                        batch.get("up_to_offset"),
                        partial["requests"],
                    )
                )
    return {key: value.partials for key, value in found.items()}


def tell(partials: dict[tuple[Any, ...], list[Partial]]) -> str:
    """Write partials for a reader."""
    lines = []
    for key, found in partials.items():
        lines.append(f"llm.windows of {key}:")
        lines += [f"    {line}" for line in _Found(found).lines()]
    return "\n".join(lines)
