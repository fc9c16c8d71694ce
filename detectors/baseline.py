"""The trailing baseline of one series: what is usual, and not what is happening now."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from detectors.base import JSON
from detectors.errors import DetectorError, SnapshotError

__all__ = ["Baseline", "BaselineSettings"]

_PER_LOOKBACK = 4


@dataclass(frozen=True, slots=True)
class BaselineSettings:
    """How a baseline is made, in units of the lookback, so that rules in fast motion keep it.

    Attributes:
        horizon: how many lookbacks it goes back: 288 of 5 minutes are a day.
        minimum: points that it needs before it says anything; they are a quarter of a lookback
            apart (but a window at least), so 12 are three lookbacks.
        minimum_samples: requests that must stand behind a point.
        limit: a value this many times the baseline, or more, is held out of it.

    """

    horizon: int = 288
    minimum: int = 12
    minimum_samples: int = 20
    limit: float = 1.5


class Baseline:
    """Take the median of a series' earlier values, the current lookback left out.

    Two things keep a regression from becoming its own baseline. A value counts only when its
    lookback ended before the current one began. And a value at or above ``limit`` times the
    baseline of its moment is held out: the baseline stands still while the signal is bad. Only
    when the good values have left the horizon, so that fewer than ``minimum`` remain, does the
    baseline take all values: a level that lasted a whole horizon is the new normal.

    The median bears that up to half of the points are off, so spikes below the limit or gone
    again within a few points do not move it.

    Args:
        settings: how it is made.
        over_us: the lookback of the values.
        window_us: length of a window, the shortest time between two points.
        worse: which side of the baseline is bad, and so held out: above, below or both.

    Raises:
        DetectorError: minimum or horizon is not positive, or the limit is not above 1.

    Examples:
        >>> baseline = Baseline(BaselineSettings(minimum=3), over_us=10, window_us=10)
        >>> for end in range(10, 60, 10):
        ...     baseline.observe(end, [2.0], samples=100)
        >>> baseline.at(60)
        [2.0]
        >>> for end in range(60, 600, 10):
        ...     baseline.observe(end, [8.0], samples=100)  # four times as much: held out
        >>> baseline.at(600)
        [2.0]

    """

    def __init__(
        self,
        settings: BaselineSettings,
        over_us: int,
        window_us: int,
        worse: Literal["above", "below", "both"] = "above",
    ) -> None:
        if min(settings.minimum, settings.horizon) < 1 or settings.limit <= 1:
            raise DetectorError("a baseline needs a point, a lookback and a limit above 1")
        self._settings = settings
        self._worse = worse
        self._over_us = over_us
        self._horizon_us = settings.horizon * over_us
        self._spacing_us = max(window_us, over_us // _PER_LOOKBACK)
        self._recent: deque[_Point] = deque()  # those that the current lookback overlaps
        self._past: deque[_Point] = deque()
        self._good = 0  # points of the past that are not held out, and their figures, each sorted
        self._sorted: list[list[float]] = []
        self._medians: list[float | None] | None = None
        self._last_us = 0

    @property
    def last_us(self) -> int:
        """Return the time of the newest point, 0 before the first."""
        return self._last_us

    def at(self, now_us: int) -> list[float | None] | None:
        """Return the median of each figure at this time, None while there are too few points.

        A figure that was never known is None.
        """
        changed = False
        while self._recent and self._recent[0].end_us <= now_us - self._over_us:
            self._enter(self._recent.popleft())
            changed = True
        while self._past and self._past[0].end_us <= now_us - self._horizon_us - self._over_us:
            self._leave(self._past.popleft())
            changed = True
        if changed:
            self._medians = self._compute()
        return self._medians

    def observe(self, now_us: int, figures: Sequence[float | None], samples: int) -> None:
        """Offer the figures of the lookback that ends now; the first decides what is held out.

        Points too soon after the last, with too few samples or of unknown first figure are left
        out.
        """
        first = figures[0] if figures else None
        if first is None or samples < self._settings.minimum_samples:
            return
        if self._last_us and now_us < self._last_us + self._spacing_us:
            return
        medians = self.at(now_us)
        usual = medians[0] if medians else None
        bad = bool(usual) and usual is not None and self._off(first, usual)
        self._recent.append(_Point(now_us, tuple(figures), bad))
        self._last_us = now_us

    @property
    def horizon_us(self) -> int:
        """Return for how long a point may be looked at, from its own time on."""
        return self._horizon_us + 2 * self._over_us

    def newest(self) -> dict[str, JSON]:
        """Return the point that was taken in last, for ``recall``."""
        return _saved.dump_python(self._recent[-1], mode="json")  # type: ignore[no-any-return]

    def recall(self, points: Iterable[JSON]) -> None:
        """Take over the points of a baseline like this, as ``newest`` gave them, oldest first.

        Raises:
            SnapshotError: these are no points; nothing was taken over.

        """
        try:
            self._recent = deque(_saved.validate_python(point, strict=False) for point in points)
        except ValidationError as error:
            raise SnapshotError(f"no point of a baseline: {error}") from None
        self._past.clear()
        self._good, self._sorted, self._medians = 0, [], None
        self._last_us = self._recent[-1].end_us if self._recent else 0

    def _off(self, first: float, usual: float) -> bool:
        limit = self._settings.limit
        above, below = first >= limit * usual, first * limit <= usual
        return (above and self._worse != "below") or (below and self._worse != "above")

    def _enter(self, point: _Point) -> None:
        self._past.append(point)
        if point.bad:
            return
        self._good += 1
        while len(self._sorted) < len(point.figures):
            self._sorted.append([])
        for column, figure in zip(self._sorted, point.figures, strict=False):
            if figure is not None:
                insort(column, figure)

    def _leave(self, point: _Point) -> None:
        if point.bad:
            return
        self._good -= 1
        for column, figure in zip(self._sorted, point.figures, strict=False):
            if figure is not None:
                del column[bisect_left(column, figure)]

    def _compute(self) -> list[float | None] | None:
        if self._good >= self._settings.minimum:
            return [_median(column) for column in self._sorted]
        if len(self._past) < self._settings.minimum:
            return None
        columns = zip(*(point.figures for point in self._past), strict=True)
        return [_median(sorted(x for x in column if x is not None)) for column in columns]


@dataclass(frozen=True, slots=True)
class _Point:
    end_us: int
    figures: tuple[float | None, ...]
    bad: bool


_saved: TypeAdapter[_Point] = TypeAdapter(_Point)


def _median(ascending: Sequence[float]) -> float | None:
    middle = len(ascending) // 2
    if not ascending:
        return None
    if len(ascending) % 2:
        return ascending[middle]
    return (ascending[middle - 1] + ascending[middle]) / 2
