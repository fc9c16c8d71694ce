"""Samples of engines to signals: GPU, caches, queue."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import structlog
from pydantic import ValidationError

from detectors.closed_window import Window
from detectors.engine import Engines
from schemas.base import SCHEMA_VERSION
from schemas.engine import EngineSample
from schemas.signal import Signal, SignalQuery
from schemas.topics import Topics
from streams import metrics
from streams.past import Past

__all__ = ["EngineAgent"]

log = structlog.get_logger(__name__)


_COLUMNS: Final = (
    "server",
    "engine_index",
    "model",
    "running_requests",
    "waiting_requests",
    "kv_cache_usage",
    "prefix_cache_hit_rate",
    "spec_decode_acceptance_rate",
    "gpu_utilization",
)
_PAST: Final = """
    SELECT toUnixTimestamp64Micro(at), server, engine_index, model, running_requests,
           waiting_requests, kv_cache_usage, prefix_cache_hit_rate, spec_decode_acceptance_rate,
           gpu_utilization
    FROM engine_samples
    WHERE at > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
"""


class EngineAgent:
    """Keeps the newest samples of ``llm.engine`` in memory and says what rules ask of them.

    They are acknowledged at once: rows are the sink's matter, and a worker that begins reads those
    of its lookbacks.
    """

    def __init__(self, queries: Collection[SignalQuery]) -> None:
        self._queries = queries
        self._engines = Engines(queries)

    async def run(self, stream: Any) -> None:
        """Process ``llm.engine`` for ever; the Faust agent's body."""
        async for event in stream.noack().events():
            try:
                self._engines.add(EngineSample.model_validate_json(event.value or b""))
            except ValidationError as error:
                metrics.REFUSED.labels(topic=Topics.ENGINE.name).inc()
                log.error("engine_sample_refused", error=str(error)[:500])
            event.ack()

    def take_in(self, windows: Sequence[Window]) -> None:
        """Do nothing: engines speak for themselves."""

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on."""
        self._queries = queries
        self._engines.reask(queries)

    def forget(self) -> None:
        """Begin anew."""
        self._engines = Engines(self._queries)

    async def resume(self, past: Past, first_us: int) -> None:
        """Read the samples of the lookbacks, and those that came since."""
        if not self._engines.longest_us:
            return
        since_us = first_us - 2 * self._engines.longest_us
        for at_us, *values in await past.rows(_PAST, {"since": since_us}):
            figures: dict[str, Any] = dict(zip(_COLUMNS, values, strict=True))
            self._engines.add(EngineSample(schema_version=SCHEMA_VERSION, at_us=at_us, **figures))

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return the signals of every engine at a window's end."""
        return self._engines.evaluate(end_us)
