"""How far evaluations have come, and whether windows lag: what a worker that starts has to know."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

from alerting.evaluator import Evaluator
from schemas.signal import HELD, Signal, SignalName

__all__ = ["EVALUATED", "Evaluated"]

EVALUATED: Final = "evaluated"


class Evaluated:
    """One row of the table of alerts: the newest evaluation's end, and whether rules hold.

    Signals come in the order of their evaluations, but whoever closes windows anew after a crash
    says them again. A signal of an evaluation that has ended says nothing new, and taken for new
    it would begin an alert that had cleared since.
    """

    def __init__(self, table: MutableMapping[str, str]) -> None:
        self._table = table

    def past(self, signal: Signal) -> bool:
        """Tell whether a signal belongs to an evaluation that has ended."""
        return signal.detector != HELD and signal.window_end_us <= self._read()[0]

    def lagging(self) -> bool:
        """Tell whether the last word on the watermark's lag was that rules hold."""
        return self._read()[1]

    def note(self, signal: Signal, evaluator: Evaluator) -> None:
        """Keep what the watermark's lag tells, once all that follows from it is kept."""
        if signal.signal is SignalName.WATERMARK_LAG and not signal.labels:
            up_to_us = signal.window_end_us if evaluator.ends(signal) else self._read()[0]
            self._table[EVALUATED] = f"{up_to_us} {int(evaluator.lagging)}"

    def _read(self) -> tuple[int, bool]:
        up_to_us, lagging = (self._table.get(EVALUATED) or "0 0").split()
        return int(up_to_us), lagging == "1"
