"""A query on the rolling windows that is answered by a detector of each group."""

from __future__ import annotations

from collections.abc import Sequence

from detectors.anomaly import AnomalySeries, anomaly_series
from detectors.learning import Learning
from detectors.measures import Reading
from detectors.memory import Memory, asked_of
from detectors.plain import Plain
from detectors.sliding import Group, Totals

__all__ = ["Anomalous"]


class Anomalous(Learning[AnomalySeries]):
    """A detector's word on the quantity."""

    def __init__(self, plain: Plain, detector: str) -> None:
        super().__init__()
        self.query = plain.query
        self.lane = plain.lane
        self.detector = detector
        self._plain = plain

    def answer(self, group: Group, totals: Totals) -> tuple[Reading, float | None]:
        """Return the detector's reading, and what is usual if it knows."""
        reading, _ = self._plain.answer(group, totals)
        series = self.learner(group)
        before_us = series.last_us
        said = series.read(self.lane.high_us, reading)
        if series.last_us != before_us:
            self._learn(group, series)
        return said, series.usual

    def _begin(self) -> AnomalySeries:
        return anomaly_series(self.detector, self.lane.over_us, self._plain.history.window_us)

    def _restore(self, learner: AnomalySeries, memories: Sequence[Memory]) -> None:
        learner.recall([(memory.at_us, memory.state) for memory in memories])

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
