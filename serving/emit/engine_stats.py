"""Read vLLM's statistics objects; every field is optional, because they move between releases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

from schemas.engine import EngineSample
from serving.emit.join import EngineRecord

__all__ = ["SampleMaker", "read_finished"]

_DAY_S: Final = 86_400.0


def read_finished(iteration_stats: Any, at: float) -> Iterator[EngineRecord]:
    """Yield a record for each sequence that an `IterationStats` says is finished.

    Args:
        iteration_stats: vLLM's object, or None.
        at: monotonic seconds, now.
    """
    for stats in getattr(iteration_stats, "finished_requests", None) or ():
        request_id = getattr(stats, "request_id", None)
        if not isinstance(request_id, str) or not request_id:
            continue
        reason = getattr(stats, "finish_reason", None)
        generated = _count(stats, "num_generation_tokens")
        yield EngineRecord(
            request_id=request_id,
            at=at,
            finish_reason=str(getattr(reason, "name", reason)).lower()
            if reason is not None
            else None,
            queue_s=_seconds(stats, "queued_time"),
            prefill_s=_seconds(stats, "prefill_time"),
            decode_s=_seconds(stats, "decode_time"),
            # For fewer than two tokens vLLM says 0, which is no pace.
            tpot_s=_seconds(stats, "mean_time_per_output_token") if (generated or 0) > 1 else None,
            preemptions=_count(stats, "num_preemptions"),
            input_tokens=_count(stats, "num_prompt_tokens"),
            cached_input_tokens=_count(stats, "num_cached_tokens"),
            output_tokens=generated,
        )


def _seconds(stats: Any, name: str) -> float | None:
    """Return a duration; a difference with a time that never came is no duration."""
    value = getattr(stats, name, None)
    known = isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= _DAY_S
    return float(value) if known and value is not None else None


def _count(stats: Any, name: str) -> int | None:
    value = getattr(stats, name, None)
    return value if type(value) is int and value >= 0 else None


class SampleMaker:
    """Make at most one sample a second of one engine; rates are over the time since the last one.

    Args:
        server, model: name what the samples are of.
        engine_index: which engine of the server.
        monotonic: seconds.
        wall_ns: nanoseconds since 1970, UTC.
        gpu: how busy the engine's GPUs were since the last call, 0 to 1, None if unknown; at once.
    """

    def __init__(
        self,
        server: str,
        model: str,
        engine_index: int,
        *,
        monotonic: Callable[[], float],
        wall_ns: Callable[[], int],
        gpu: Callable[[], float | None] = lambda: None,
        interval_s: float = 1.0,
    ) -> None:
        self._server = server
        self._model = model
        self._engine_index = engine_index
        self._monotonic = monotonic
        self._wall_ns = wall_ns
        self._gpu = gpu
        self._interval_s = interval_s
        self._last_at: float | None = None
        self._stats: Any = None
        self._queries = self._hits = self._drafted = self._accepted = 0

    def record(self, scheduler_stats: Any) -> EngineSample | None:
        """Take a `SchedulerStats` (or None); return a sample when one is due."""
        if scheduler_stats is not None:
            self._stats = scheduler_stats
            prefix = getattr(scheduler_stats, "prefix_cache_stats", None)
            self._queries += _count(prefix, "queries") or 0
            self._hits += _count(prefix, "hits") or 0
            drafts = getattr(scheduler_stats, "spec_decoding_stats", None)
            self._drafted += _count(drafts, "num_draft_tokens") or 0
            self._accepted += _count(drafts, "num_accepted_tokens") or 0
        now = self._monotonic()
        if self._stats is None or (
            self._last_at is not None and now - self._last_at < self._interval_s
        ):
            return None
        self._last_at = now
        return self._sample()

    def _sample(self) -> EngineSample:
        stats = self._stats
        sample = EngineSample(
            schema_version=1,
            server=self._server,
            engine_index=self._engine_index,
            at_us=self._wall_ns() // 1_000,
            model=self._model,
            running_requests=_count(stats, "num_running_reqs") or 0,
            waiting_requests=(_count(stats, "num_waiting_reqs") or 0)
            + (_count(stats, "num_skipped_waiting_reqs") or 0),
            kv_cache_usage=_ratio(getattr(stats, "kv_cache_usage", None), 1),
            prefix_cache_hit_rate=_ratio(self._hits, self._queries),
            spec_decode_acceptance_rate=_ratio(self._accepted, self._drafted),
            gpu_utilization=_ratio(self._gpu(), 1),
        )
        self._queries = self._hits = self._drafted = self._accepted = 0
        return sample


def _ratio(part: Any, whole: float) -> float | None:
    """Return part / whole within 0 and 1, or None when there was nothing to divide."""
    if not isinstance(part, int | float) or not math.isfinite(part) or whole <= 0:
        return None
    return min(1.0, max(0.0, part / whole))
