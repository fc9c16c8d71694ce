"""What KS and PSI share: a frozen reference sample and a sliding current one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.base import JSON, is_known, read_snapshot
from detectors.errors import DetectorError
from detectors.sketch import DDSketch

__all__ = ["TwoSample", "sample_of"]


def sample_of(sketch: DDSketch, largest: int = 10_000) -> NDArray[np.float64]:
    """Return a sorted sample that is distributed as a sketch's values, ``largest`` at most.

    Up to that size it is every value, each within the sketch's relative error; beyond, the values
    at evenly spaced ranks.
    """
    values, counts = sketch.values_and_counts()
    total = sketch.count
    if total <= largest:
        return np.repeat(values, counts)
    ranks = (np.arange(largest) + 0.5) * (total / largest)
    return values[np.searchsorted(np.cumsum(counts), ranks, side="left")]


class TwoSample(ABC):
    """Keep the first ``reference_size`` values for good and the newest ``current_size`` since.

    Both samples are full before anything is said.

    Raises:
        DetectorError: a size is below 2.

    """

    def __init__(self, reference_size: int, current_size: int) -> None:
        if min(reference_size, current_size) < 2:
            raise DetectorError("a sample holds two values at least")
        self._reference_size = reference_size
        self._reference: list[float] = []
        self._current: deque[float] = deque(maxlen=current_size)
        self._stale = False
        self._result: tuple[float | None, bool] = (None, False)

    def update(self, x: float | None) -> None:
        """Take in the next value; None and NaN are ignored."""
        if x is None or not is_known(x):
            return
        if len(self._reference) < self._reference_size:
            self._reference.append(float(x))
            return
        self._current.append(float(x))
        self._stale = True

    @property
    def value(self) -> float | None:
        """Return the statistic, None until both samples are full."""
        return self._answer()[0]

    @property
    def detected(self) -> bool:
        """Tell whether the current sample differs from the reference."""
        return self._answer()[1]

    def snapshot(self) -> dict[str, JSON]:
        """Return both samples and the settings."""
        return {
            **self._settings(),
            "reference": list(self._reference),
            "current": list(self._current),
        }

    def restore(self, snapshot: Mapping[str, JSON]) -> None:
        """Take over another's samples.

        Raises:
            SnapshotError: it was made with other settings or is malformed.

        """
        lists = read_snapshot(snapshot, self._settings(), ("reference", "current"))
        self._reference = lists["reference"][: self._reference_size]
        self._current = deque(lists["current"], self._current.maxlen)
        self._stale, self._result = True, (None, False)

    @abstractmethod
    def _compare(
        self, reference: NDArray[np.float64], current: NDArray[np.float64]
    ) -> tuple[float, bool]:
        """Return the statistic of two samples, and whether they differ."""

    @abstractmethod
    def _settings(self) -> dict[str, JSON]:
        """Return what a snapshot must have been made with."""

    def _answer(self) -> tuple[float | None, bool]:
        if self._stale and len(self._current) == self._current.maxlen:
            self._result = self._compare(np.array(self._reference), np.array(self._current))
            self._stale = False
        return self._result
