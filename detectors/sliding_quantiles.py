"""Quantiles over the lookbacks of many series at once, from packed sketches, in numpy.

What ``DDSketch.quantile`` says of merged windows is said here of each window's end, to the last
bit: a table of (window, series, bucket) is summed up over the buckets and then over the windows, so
that the difference of two of its rows is how many values of a lookback lie at each bucket or below;
its quantile is looked for by bisection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.buckets import middles_of
from detectors.errors import SketchError
from detectors.packed import PackedSketches
from detectors.sketch import DEFAULT_ALPHA

__all__ = ["Lookback", "SlidingQuantiles"]


@dataclass(frozen=True, slots=True)
class Lookback:
    """How many windows it holds, and which quantile is asked for, 0 to 1."""

    windows: int
    level: float


class SlidingQuantiles:
    """Follow lookbacks over stretches of windows, one stretch after the other.

    A lookback of a series may hold 2**32 - 1 values.

    Args:
        series: how many there are.
        lookbacks: what is asked at each window's end.
        alpha: the relative error that all sketches must have.

    Raises:
        SketchError: a lookback is empty, or a level not between 0 and 1.

    """

    def __init__(
        self, series: int, lookbacks: Sequence[Lookback], alpha: float = DEFAULT_ALPHA
    ) -> None:
        if any(item.windows < 1 or not 0 <= item.level <= 1 for item in lookbacks):
            raise SketchError(f"no such lookbacks: {list(lookbacks)}")
        self._series = series
        self._lookbacks = lookbacks
        self._alpha = alpha
        self._reach = max((item.windows for item in lookbacks), default=1)
        self._low = 0
        self._tail = np.zeros((self._reach, series, 1), np.uint32)
        self._zeros = np.zeros((self._reach, series), np.int64)

    def add(
        self,
        packed: PackedSketches,
        series: NDArray[np.int64],
        windows: NDArray[np.int64],
        stretch: int,
    ) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """Take in the next stretch of windows; return what each lookback says at their ends.

        Args:
            packed: one sketch for each row, in any order; several of one cell add up.
            series: the series of each row, shape (rows,).
            windows: which window of the stretch each row is, 0 first, shape (rows,).
            stretch: how many windows the stretch has.

        Returns:
            for each lookback the quantiles (NaN without samples) and how many samples stand behind
            them, each of shape (series, stretch).

        Raises:
            SketchError: the sketches are of another alpha.

        """
        if packed.counts.any() and packed.alpha != self._alpha:
            raise SketchError(f"alpha {packed.alpha} does not merge with {self._alpha}")
        width = self._widen(*packed.bounds())
        cells = self._series * stretch
        bases = (windows * self._series + series) * width - self._low
        new = packed.histogram(bases, cells * width).reshape(stretch, self._series, width)
        zeros = np.bincount(windows * self._series + series, packed.zeros, cells)
        # Row 0 of the sums is nothing, row n the sum of the first n windows.
        rows = self._reach + stretch
        sums = np.empty((rows + 1, self._series, width), np.uint32)
        sums[0] = 0
        sums[1 : self._reach + 1] = self._tail
        sums[self._reach + 1 :] = new
        self._tail = sums[-self._reach :].copy()
        below = np.zeros((rows + 1, self._series), np.int64)
        below[1 : self._reach + 1] = self._zeros
        below[self._reach + 1 :] = zeros.reshape(stretch, self._series)
        self._zeros = below[-self._reach :].copy()
        np.cumsum(sums, axis=2, out=sums)
        for row in range(1, rows + 1):  # a row at a time is faster than numpy's cumsum
            sums[row] += sums[row - 1]  # it may wrap around: differences come out all the same
        np.cumsum(below, axis=0, out=below)
        return [self._say(item, sums, below) for item in self._lookbacks]

    def _widen(self, low: int, high: int) -> int:
        """Make room for keys from ``low`` to ``high``; return how many keys there is room for."""
        tail = self._tail
        some = np.flatnonzero(tail.any(axis=(0, 1)))
        if some.size:
            low, high = min(low, self._low + int(some[0])), max(high, self._low + int(some[-1]))
        width = high - low + 1
        self._tail = np.zeros((self._reach, self._series, width), np.uint32)
        if some.size:
            first, last = int(some[0]), int(some[-1]) + 1
            at = self._low + first - low
            self._tail[:, :, at : at + last - first] = tail[:, :, first:last]
        self._low = low
        return width

    def _say(
        self, item: Lookback, sums: NDArray[np.uint32], below: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        first = self._reach + 1
        new, old = slice(first, None), slice(first - item.windows, -item.windows)
        zeros = below[new] - below[old]
        counts = sums[new, :, -1] - sums[old, :, -1] + zeros
        ranks = np.minimum((item.level * counts).astype(np.int64), counts - 1) - zeros
        keys = self._low + _places(sums, item.windows, first, ranks)
        values = np.where(ranks < 0, 0.0, middles_of(keys, self._alpha))
        return np.where(counts > 0, values, np.nan).T, counts.T


def _places(
    sums: NDArray[np.uint32], windows: int, first: int, ranks: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the bucket where each rank lies, by bisection.

    Args:
        sums: how many values the windows up to a row hold in a bucket or below, shape (rows,
            series, buckets).
        windows: how many a lookback has.
        first: the row at which the first lookback ends.
        ranks: how many values of each lookback lie below what is looked for, shape (rows - first,
            series).

    """
    width = sums.shape[2]
    flat = sums.reshape(-1)
    rows = np.arange(first * ranks.shape[1], sums.shape[0] * ranks.shape[1]) * width
    earlier = windows * ranks.shape[1] * width
    places = np.zeros(ranks.size, np.int64)
    step = 1 << width.bit_length() - 1
    while step:
        # Up to `step` more buckets are passed where all of them hold no more than the rank.
        last = places + step - 1
        at = rows + np.minimum(last, width - 1)
        passed = (flat[at] - flat[at - earlier] <= ranks.reshape(-1)) & (last < width)
        places += step * passed
        step //= 2
    return places.reshape(ranks.shape)
