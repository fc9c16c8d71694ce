"""A query on the rolling windows that is answered by a detector of each group."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from detectors.anomaly import AnomalySeries, anomaly_series
from detectors.measures import Reading
from detectors.memory import Memory, asked_of
from detectors.plain import Plain
from detectors.sliding import Group, Totals

__all__ = ["Anomalous"]


class Anomalous:
    """A detector's word on the quantity."""

    def __init__(self, plain: Plain, detector: str) -> None:
        self.query = plain.query
        self.lane = plain.lane
        self.detector = detector
        self._plain = plain
        self._series: dict[Group, AnomalySeries] = {}
        self._learnt: list[Memory] = []

    def answer(self, group: Group, totals: Totals) -> tuple[Reading, float | None]:
        """Return the detector's reading, and what is usual if it knows."""
        reading, _ = self._plain.answer(group, totals)
        series = self._series.get(group)
        if series is None:
            series = self._series[group] = self._begin()
        before_us = series.last_us
        said = series.read(self.lane.high_us, reading)
        if series.last_us != before_us:
            self._learn(group, series)
        return said, series.usual

    def prune(self, limit_us: int, groups: Collection[Group]) -> None:
        """Forget the detectors of groups that are gone."""
        for group in [g for g, s in self._series.items() if s.last_us <= limit_us]:
            if group not in groups:
                del self._series[group]

    def take_over(self, other: object) -> None:
        """Go on with another's detectors."""
        if isinstance(other, Anomalous):
            self._series = other._series  # noqa: SLF001 - of the same class
            self._learnt = other._learnt  # noqa: SLF001 - of the same class

    def memories(self) -> list[Memory]:
        """Return what the detectors learnt since the last call."""
        learnt, self._learnt = self._learnt, []
        return learnt

    def recall(self, group: Group, memories: Sequence[Memory]) -> None:
        """Take over what a group's detector had learnt, oldest first.

        Raises:
            SnapshotError: it had not learnt that.

        """
        series = self._begin()
        series.recall([(memory.at_us, memory.state) for memory in memories])
        self._series[group] = series

    def _begin(self) -> AnomalySeries:
        return anomaly_series(self.detector, self.lane.over_us, self._plain.history.window_us)

    def _learn(self, group: Group, series: AnomalySeries) -> None:
        self._learnt.append(
            Memory(
                series.kind,
                asked_of(self.query),
                group,
                series.last_us,
                series.learnt(),
                **series.keeping,
            )
        )
