"""A query on the rolling windows that is answered by the quantity itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from detectors.measures import Measure, Reading
from detectors.memory import Memory
from detectors.sliding import Group, History, Lane, Totals
from schemas.signal import SignalQuery

__all__ = ["Forgetful", "Plain"]


class Forgetful:
    """What an answer does that remembers nothing."""

    def prune(self, limit_us: int, groups: Collection[Group]) -> None:
        """Do nothing: nothing is remembered."""

    def take_over(self, other: object) -> None:
        """Do nothing: nothing is remembered."""

    def memories(self) -> list[Memory]:
        """Return nothing: nothing is remembered."""
        return []

    def recall(self, group: Group, memories: Sequence[Memory]) -> None:
        """Do nothing: nothing is remembered."""


class Plain(Forgetful):
    """The quantity itself."""

    detector = "rolling"

    def __init__(self, query: SignalQuery, measure: Measure, lane: Lane, history: History) -> None:
        self.query = query
        self.lane = lane
        self._measure = measure
        self.history = history

    @property
    def covered_s(self) -> float:
        """Return how much of the lookback lies after the first window ever seen."""
        return self.history.covered_s(self.lane)

    def read(self, totals: Totals, covered_s: float) -> Reading:
        """Return the quantity of some totals."""
        reading = self._measure.read(totals, covered_s)
        if self._measure.whole and covered_s * 1e6 < self.lane.over_us:
            return Reading(None, reading.samples, reading.detail)
        return reading

    def answer(self, _: Group, totals: Totals) -> tuple[Reading, float | None]:
        """Return the quantity of a group's lookback."""
        return self.read(totals, self.covered_s), None
