"""Samples of engines to signals: GPU, caches, queue."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import structlog
from pydantic import ValidationError

from detectors.closed_window import Window
from detectors.engine import Engines
from schemas.engine import EngineSample
from schemas.signal import Signal, SignalQuery
from schemas.topics import Topics
from streams import metrics

__all__ = ["EngineAgent"]

log = structlog.get_logger(__name__)


class EngineAgent:
    """Keeps the newest samples of ``llm.engine`` in memory and says what rules ask of them.

    They are acknowledged at once: a restart begins with the samples that come then, as every
    engine sends one a second. Rows are the sink's matter.
    """

    def __init__(self, queries: Collection[SignalQuery]) -> None:
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
        self._engines.reask(queries)

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return the signals of every engine at a window's end."""
        return self._engines.evaluate(end_us)
