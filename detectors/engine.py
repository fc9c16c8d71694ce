"""What engines say of themselves: GPU, caches, queue and acceptance over a lookback."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from schemas.base import SCHEMA_VERSION
from schemas.engine import EngineSample
from schemas.signal import Signal, SignalName, SignalQuery

__all__ = ["Engines"]

_FIELDS: Final = {
    SignalName.GPU_UTILIZATION: "gpu_utilization",
    SignalName.KV_CACHE_USAGE: "kv_cache_usage",
    SignalName.WAITING_REQUESTS: "waiting_requests",
    SignalName.PREFIX_CACHE_HIT_RATE: "prefix_cache_hit_rate",
    SignalName.SPEC_DECODE_ACCEPTANCE_RATE: "spec_decode_acceptance_rate",
}
_LABELS: Final = ("server", "engine_index", "model")

_Group = tuple[str, ...]


class Engines:
    """Answer queries about engines with the mean of their samples in the lookback.

    Samples come about once a second, may come late or twice, and count at their own time. What an
    engine does not say (no GPU counter, no speculative decoding) is unknown and in no mean. An
    engine that fell silent is told of with no samples for another lookback.

    Args:
        queries: what the rules need; those for other signals or by other labels are left out.

    """

    def __init__(self, queries: Collection[SignalQuery]) -> None:
        self._engines: dict[tuple[str, int], dict[int, EngineSample]] = {}
        self._queries: list[SignalQuery] = []
        self.reask(queries)

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on, from the samples that are held."""
        self._queries = [
            q
            for q in dict.fromkeys(queries)
            if (q.signal in _FIELDS or q.signal is SignalName.ENGINE_SAMPLE_COUNT)
            and set(q.by) <= set(_LABELS)
        ]

    @property
    def longest_us(self) -> int:
        """Return the longest lookback, 0 without any."""
        return max((round(q.over_s * 1e6) for q in self._queries), default=0)

    def add(self, sample: EngineSample) -> None:
        """Add a sample; the same engine's of the same moment takes the earlier one's place."""
        if self._queries:
            held = self._engines.setdefault((sample.server, sample.engine_index), {})
            held[sample.at_us] = sample

    def evaluate(self, now_us: int) -> list[Signal]:
        """Return the signals of the lookbacks that end at this event time."""
        longest_us = self.longest_us
        for engine, held in list(self._engines.items()):
            for at_us in [at_us for at_us in held if at_us <= now_us - 2 * longest_us]:
                del held[at_us]
            if not held:
                del self._engines[engine]
        return [signal for query in self._queries for signal in self._answer(query, now_us)]

    def _answer(self, query: SignalQuery, now_us: int) -> Iterator[Signal]:
        low_us = now_us - round(query.over_s * 1e6)
        groups: dict[_Group, list[EngineSample]] = {}
        for held in self._engines.values():
            for at_us, sample in held.items():
                if at_us > now_us or at_us <= low_us - round(query.over_s * 1e6):
                    continue
                group = groups.setdefault(tuple(str(getattr(sample, n)) for n in query.by), [])
                if at_us > low_us:
                    group.append(sample)
        for labels, samples in groups.items():
            yield self._signal(query, labels, samples, now_us)

    @staticmethod
    def _signal(
        query: SignalQuery, group: _Group, samples: list[EngineSample], now_us: int
    ) -> Signal:
        value: float | None
        detail: dict[str, float] = {}
        count = len(samples)
        if query.signal is SignalName.ENGINE_SAMPLE_COUNT:
            value = float(count)
        else:
            field = _FIELDS[query.signal]
            known = [float(x) for s in samples if (x := getattr(s, field)) is not None]
            count = len(known)
            value = sum(known) / count if count else None
            if known:
                detail = {"lowest": min(known), "highest": max(known)}
        return Signal(
            schema_version=SCHEMA_VERSION,
            signal=query.signal,
            labels=dict(zip(query.by, group, strict=True)),
            over_s=query.over_s,
            window_end_us=now_us,
            value=value,
            samples=count,
            detector="engine",
            detail=detail,
        )
