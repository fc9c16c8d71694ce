"""Drift of prompt and output lengths against each series' frozen reference."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Collection, Sequence
from typing import Final

from detectors.closed_window import Window
from detectors.drift import Drift
from detectors.errors import SnapshotError
from detectors.memory import Memory
from schemas.settings import DriftSettings
from schemas.signal import Signal, SignalQuery
from streams.past import Past

__all__ = ["DriftAgent"]

_LATE: Final = ("scipy.stats", "river.drift")


class DriftAgent:
    """Two-sample KS, PSI and ADWIN over the token lengths of closed windows, by model."""

    def __init__(self, settings: DriftSettings, queries: Collection[SignalQuery]) -> None:
        self._settings = settings
        self._queries = queries
        self._drift = Drift(settings, queries)

    async def load(self) -> None:
        """Import what the detectors import late, beside the stream, before they need it."""
        for module in _LATE:
            await asyncio.to_thread(importlib.import_module, module)

    def take_in(self, windows: Sequence[Window]) -> None:
        """Take in closed windows."""
        for window in windows:
            self._drift.add(window)

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on; the series of those that stay go on."""
        self._queries = queries
        self._drift.reask(queries)

    def forget(self) -> None:
        """Begin anew."""
        self._drift = Drift(self._settings, self._queries)

    async def resume(self, past: Past, first_us: int) -> None:
        """Take over references, ADWINs and lookbacks of the worker before."""
        drift = Drift(self._settings, self._queries)
        learnt = await past.learnt(drift.asked(), first_us)
        wrong: SnapshotError | None = None
        try:
            drift.recall(learnt)
        except SnapshotError as error:
            wrong = error
        if drift.reach_us:
            since_us = first_us - drift.reach_us
            async for windows in past.windows(since_us, first_us, drift.quantities()):
                drift.resume(windows)
        self._drift = drift
        if wrong is not None:
            raise wrong

    def memories(self) -> list[Memory]:
        """Return what the series learnt since the last call."""
        return self._drift.memories()

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return the drift signals of every series with a reference."""
        return self._drift.evaluate(end_us)
