"""Latency, errors, throughput and cost rates over the lookbacks that the rules ask for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from detectors.closed_window import Window
from detectors.memory import Memory
from detectors.rolling import Rolling
from schemas.signal import Signal, SignalQuery
from streams.past import Past

__all__ = ["PerformanceAgent"]


class PerformanceAgent:
    """Rolling figures of closed windows, one Signal for each query and group."""

    def __init__(self, queries: Collection[SignalQuery], window_us: int) -> None:
        self._queries = queries
        self._window_us = window_us
        self._rolling = Rolling(queries, window_us)

    def take_in(self, windows: Sequence[Window]) -> None:
        """Take in closed windows; a correction replaces its older revision."""
        for window in windows:
            self._rolling.add(window)

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on."""
        self._queries = queries
        self._rolling.reask(queries)

    def forget(self) -> None:
        """Begin anew."""
        self._rolling = Rolling(self._queries, self._window_us)

    async def resume(self, past: Past, first_us: int) -> None:
        """Take over lookbacks, baselines and detectors of the worker before."""
        rolling = Rolling(self._queries, self._window_us)
        last_us = first_us - self._window_us
        since_us = last_us - rolling.longest_us
        heard = await past.heard(since_us - rolling.longest_us, first_us)
        rolling.resume(last_us, heard, await past.first_us(since_us))
        sketched_us, names = rolling.sketched()
        split_us = last_us - sketched_us
        async for windows in past.windows(since_us, split_us + 1):
            for window in windows:
                rolling.add(window)
        async for windows in past.windows(split_us, first_us, names):
            for window in windows:
                rolling.add(window)
        learnt = await past.learnt(rolling.asked(), first_us)
        self._rolling = rolling
        rolling.recall(learnt)

    def memories(self) -> list[Memory]:
        """Return what baselines and detectors learnt since the last call."""
        return self._rolling.memories()

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return every query's signals at a window's end."""
        return self._rolling.evaluate(end_us)
