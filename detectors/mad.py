"""How far the newest values lie from what is usual, in robust standard deviations."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from typing import Final

import numpy as np

from detectors.base import JSON, is_known, read_snapshot
from detectors.errors import DetectorError

__all__ = ["MadDrift"]

_FROM_MAD: Final = 1.4826
_FROM_MEAN_AD: Final = 1.2533
_FARTHEST: Final = 1_000.0
_FLOOR: Final = 0.01


class MadDrift:
    """Score the newest values by the distance of their median from that of those before them.

    The distance is in units of the scaled MAD of those before.

    Median and MAD (median absolute deviation) bear that up to half of the values are off, so a
    few outliers change neither. Where more than half of the values are equal, the mean absolute
    deviation takes the MAD's place. The scale is at least a hundredth of the median, so that a
    series that hardly moves is not alarmed by its last digit; scores end at 1,000.

    Args:
        limit: the score, on either side, above which a value counts as a change.
        memory: how many of the newest values are compared with.
        minimum: how many are needed before anything is said.
        newest: how many values are scored together: more find a smaller change, and later.

    Raises:
        DetectorError: limit or newest is not positive, or minimum is below 2 or above memory.

    References:
        Boris Iglewicz, David C. Hoaglin: How to Detect and Handle Outliers. ASQC Basic References
        in Quality Control 16, 1993: the modified z-score, and 3.5 as its usual limit.

    Examples:
        >>> mad = MadDrift(minimum=8)
        >>> for i, x in enumerate([1.0, 1.1, 0.9, 1.05, 0.95, 1.1, 0.9, 1.0, 1.05, 2.5]):
        ...     mad.update(x)
        ...     if mad.detected:
        ...         print(f"change detected at index {i}, score {mad.value:.1f}")
        change detected at index 9, score 20.2

    """

    def __init__(
        self, limit: float = 3.5, memory: int = 288, minimum: int = 12, newest: int = 1
    ) -> None:
        if not limit > 0 or newest < 1:
            raise DetectorError(f"limit ({limit}) and newest ({newest}) must be positive")
        if not 2 <= minimum <= memory:
            raise DetectorError(f"minimum must lie between 2 and memory ({memory}), not {minimum}")
        self._limit = limit
        self._minimum = minimum
        self._values: deque[float] = deque(maxlen=memory)
        self._newest: deque[float] = deque()
        self._most = newest
        self._usual: tuple[float, float] | None = None
        self._score: float | None = None

    def update(self, x: float | None) -> None:
        """Take in the next value and score it with the newest; unknown is ignored."""
        if x is None or not is_known(x):
            return
        self._newest.append(float(x))
        if len(self._newest) > self._most:
            self._values.append(self._newest.popleft())
            self._usual = None
        self._score = self.score(statistics.median(self._newest))

    def learn(self, x: float) -> None:
        """Take in a value that is not to be scored, as one of those compared with."""
        self._values.append(x)
        self._usual = None

    def score(self, x: float) -> float | None:
        """Return the score of a value without taking it in, None while there are too few."""
        if len(self._values) < self._minimum:
            return None
        median, scale = self._compare()
        if x == median:
            return 0.0
        if not scale:
            return math.copysign(_FARTHEST, x - median)
        return max(-_FARTHEST, min(_FARTHEST, (x - median) / scale))

    @property
    def median(self) -> float | None:
        """Return what is usual, None while there are too few values."""
        return None if len(self._values) < self._minimum else self._compare()[0]

    @property
    def detected(self) -> bool:
        """Tell whether the newest value lies beyond the limit."""
        return self._score is not None and abs(self._score) > self._limit

    @property
    def value(self) -> float | None:
        """Return the newest value's score, None while there are too few values."""
        return self._score

    def snapshot(self) -> dict[str, JSON]:
        """Return the values compared with, the newest score and the settings."""
        score: list[JSON] = [] if self._score is None else [self._score]
        return {
            **self._settings(),
            "values": list(self._values),
            "newest": list(self._newest),
            "score": score,
        }

    def restore(self, snapshot: Mapping[str, JSON]) -> None:
        """Take over another's values.

        Raises:
            SnapshotError: it was made with other settings or is malformed.

        """
        lists = read_snapshot(snapshot, self._settings(), ("values", "newest", "score"))
        self._values.clear()
        self._values.extend(lists["values"])
        self._newest = deque(lists["newest"])
        self._score = lists["score"][0] if lists["score"] else None
        self._usual = None

    def _compare(self) -> tuple[float, float]:
        if self._usual is None:
            values = np.array(self._values)
            median = float(np.median(values))
            off = np.abs(values - median)
            scale = _FROM_MAD * float(np.median(off)) or _FROM_MEAN_AD * float(off.mean())
            self._usual = median, max(scale, _FLOOR * abs(median))
        return self._usual

    def _settings(self) -> dict[str, JSON]:
        return {
            "detector": "mad",
            "limit": self._limit,
            "memory": self._values.maxlen,
            "minimum": self._minimum,
            "most": self._most,
        }
