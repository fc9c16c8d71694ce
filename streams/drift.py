"""Drift of prompt and output lengths against each series' frozen reference."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Collection, Sequence
from typing import Final

from detectors.closed_window import Window
from detectors.drift import Drift
from schemas.settings import DriftSettings
from schemas.signal import Signal, SignalQuery

__all__ = ["DriftAgent"]

_LATE: Final = ("scipy.stats", "river.drift")


class DriftAgent:
    """Two-sample KS, PSI and ADWIN over the token lengths of closed windows, by model."""

    def __init__(self, settings: DriftSettings, queries: Collection[SignalQuery]) -> None:
        self._settings = settings
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
        """Answer other queries from now on; references of those that stay are kept."""
        snapshot = self._drift.snapshot()
        self._drift = Drift(self._settings, queries)
        self._drift.restore(snapshot)

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return the drift signals of every series with a reference."""
        return self._drift.evaluate(end_us)
