"""Sort the spans of an export: which are requests, which are not, and which are wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from schemas.dead_letter import DeadLetterReason
from serving.emit.batches import Encoded, encode
from serving.errors import SpanRefusedError
from serving.otlp.event import EventMaker
from serving.otlp.genai import read_genai
from serving.otlp.openinference import read_openinference
from serving.otlp.parts import whole_of
from serving.otlp.reported import is_reported
from serving.otlp.span import Span
from serving.otlp.told import Told
from serving.otlp.vllm import read_vllm

__all__ = ["SOURCES", "Refused", "Sorted", "sort_spans"]

log = structlog.get_logger("tocsin.otlp")

SOURCES: Final[tuple[Callable[[Span], Told | None], ...]] = (
    read_vllm,
    read_genai,
    read_openinference,
)
"""The first that knows a span decides what it tells."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A span that tells of a request and cannot be taken."""

    span: Span
    reason: DeadLetterReason
    detail: str


@dataclass(slots=True)
class Sorted:
    """What becomes of an export's spans.

    Attributes:
        events: of the requests, each once, as they travel: they may have to wait for the broker.
        refused: for the dead letters.
        counts: spans by source and outcome: `event`, `joined`, `reported`, `refused`; those that
            are no request are `("other", "ignored")`.
    """

    events: list[Encoded] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def refuse(self, source: str, spans: Sequence[Span], error: Exception) -> None:
        """Refuse spans; what is a fault of Tocsin's own costs no others either."""
        if isinstance(error, SpanRefusedError):
            reason, detail = error.reason, str(error)
        else:
            log.error("span_fails", exc_info=error)
            reason = DeadLetterReason.INTERNAL_ERROR
            detail = f"{type(error).__name__}; the receiver's log says more"
        self.refused += (Refused(span, reason, detail) for span in spans)
        self.counts[source, "refused"] += len(spans)


def sort_spans(
    spans: Iterable[Span], maker: EventMaker, reported: Mapping[str, Sequence[str]], now_us: int
) -> Sorted:
    """Return what becomes of spans; what one of them holds never costs its neighbours.

    Args:
        spans: of one export.
        maker: makes the events.
        reported: see `is_reported`.
        now_us: wall clock, UTC microseconds.
    """
    result = Sorted()
    requests: dict[tuple[str, str], list[tuple[Span, Told]]] = {}
    for span in spans:
        try:
            told = next((told for read in SOURCES if (told := read(span)) is not None), None)
            known = told is not None and is_reported(span, told, reported)
        except Exception as error:  # noqa: BLE001  # it is logged
            result.refuse("other", [span], error)
            continue
        if told is None:
            result.counts["other", "ignored"] += 1
        elif known:
            result.counts[told.source, "reported"] += 1
        else:
            requests.setdefault((told.source, told.identity), []).append((span, told))
    for (source, _), parts in requests.items():
        try:
            result.events.append(encode(maker.event(*whole_of(parts), now_us)))
        except Exception as error:  # noqa: BLE001
            result.refuse(source, [span for span, _ in parts], error)
        else:
            result.counts[source, "event"] += 1
            result.counts[source, "joined"] += len(parts) - 1
    return result
