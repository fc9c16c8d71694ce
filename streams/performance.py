"""Latency, errors, throughput and cost rates over the lookbacks that the rules ask for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from detectors.closed_window import Window
from detectors.rolling import Rolling
from schemas.signal import Signal, SignalQuery

__all__ = ["PerformanceAgent"]


class PerformanceAgent:
    """Rolling figures of closed windows, one Signal for each query and group."""

    def __init__(self, queries: Collection[SignalQuery], window_us: int) -> None:
        self._rolling = Rolling(queries, window_us)

    def take_in(self, windows: Sequence[Window]) -> None:
        """Take in closed windows; a correction replaces its older revision."""
        for window in windows:
            self._rolling.add(window)

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on."""
        self._rolling.reask(queries)

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return every query's signals at a window's end."""
        return self._rolling.evaluate(end_us)
