"""A mergeable quantile sketch with a bounded relative error: DDSketch.

References:
    Charles Masson, Jee E. Rim, Homin K. Lee: DDSketch: A Fast and Fully-Mergeable Quantile Sketch
    with Relative-Error Guarantees. PVLDB 12(12), 2019, pages 2195-2205.

"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.buckets import MIN_VALUE, Buckets, counted, keys_of, middles_of, read_buckets
from detectors.errors import SketchError
from schemas.window import SketchState

__all__ = ["DEFAULT_ALPHA", "DDSketch"]

DEFAULT_ALPHA: Final = 0.005
_BUFFER: Final = 8_192
_PART: Final = 16  # what a buffered array weighs at least, so that many tiny ones are bounded too

_NO_KEYS: Final[NDArray[np.int64]] = np.empty(0, np.int64)


class DDSketch:
    """Count non-negative values in buckets whose bounds grow by g = (1 + alpha) / (1 - alpha).

    Bucket ``key`` covers (g^(key-1), g^key] and stands for 2 g^key / (g + 1), which is at most
    ``alpha`` off any value in it. Adding is linear in the buckets, so merging is exact,
    commutative and associative, and what was merged can be subtracted again.

    Memory is bounded without collapsing buckets: values below ``MIN_VALUE`` (1e-9; negative ones
    too) count as zeros and values above ``MAX_VALUE`` (1e12) count as ``MAX_VALUE``, which leaves
    4,836 buckets at the default alpha. Durations (up to 86,400 s) and tokens (up to 1e9) lie well
    inside, so the guarantee holds for every value that the schemas let through.

    Args:
        alpha: the relative error of every quantile.

    Raises:
        SketchError: ``alpha`` is not between 0 and 1.

    Examples:
        >>> import numpy as np
        >>> sketch = DDSketch()
        >>> sketch.add(np.arange(1.0, 1_001.0))
        >>> sketch.count
        1000
        >>> abs(sketch.quantile(0.95) - 951) <= 0.005 * 951
        True
        >>> DDSketch().quantile(0.95) is None
        True

    """

    __slots__ = ("_alpha", "_buffered", "_count", "_counts", "_keys", "_parts", "_raw", "_zeros")

    def __init__(self, alpha: float = DEFAULT_ALPHA) -> None:
        if not 0 < alpha < 1:
            raise SketchError(f"alpha must lie between 0 and 1, not {alpha}")
        self._alpha = alpha
        self._keys = _NO_KEYS  # ascending; never written in place, so that copies share them
        self._counts = _NO_KEYS
        self._zeros = 0
        self._count = 0
        self._raw: list[NDArray[np.float64]] = []  # values not yet folded into the buckets
        self._parts: list[Buckets] = []  # likewise others' buckets
        self._buffered = 0

    @property
    def alpha(self) -> float:
        """Return the relative error."""
        return self._alpha

    @property
    def count(self) -> int:
        """Return how many values the sketch holds."""
        return self._count

    @property
    def zeros(self) -> int:
        """Return how many of the values lie below ``MIN_VALUE``."""
        self._fold()
        return self._zeros

    def add(self, values: NDArray[np.float64]) -> None:
        """Add values of any number; NaN stands for unknown and is left out.

        Args:
            values: float64, shape (n,).

        """
        known = values[~np.isnan(values)]  # a copy: the caller may reuse its array
        if known.size:
            self._count += known.size
            self._raw.append(known)
            self._buffer(known.size)

    def merge(self, other: DDSketch) -> None:
        """Add all that another sketch holds.

        Raises:
            SketchError: the other has another ``alpha``.

        """
        self._combine(other, 1)

    def subtract(self, other: DDSketch) -> None:
        """Take away what was merged before, so that a sliding window needs no new merge.

        Raises:
            SketchError: the other has another ``alpha`` or holds more values. Buckets that the
                other never gave are found out when the buckets are next read.

        """
        if other._count > self._count or (other.zeros and other.zeros > self.zeros):
            raise SketchError("cannot subtract more values than the sketch holds")
        self._combine(other, -1)

    def copy(self) -> DDSketch:
        """Return an independent sketch of the same values."""
        self._fold()
        twin = DDSketch(self._alpha)
        twin._keys, twin._counts = self._keys, self._counts
        twin._zeros, twin._count = self._zeros, self._count
        return twin

    def quantile(self, q: float) -> float | None:
        """Return the value of rank floor(q * count), the largest for q = 1, None when empty.

        This is the rank that ClickHouse's ``quantileExact`` takes; the answer is within ``alpha``
        of it.

        Raises:
            SketchError: ``q`` is not between 0 and 1.

        """
        return self.quantiles((q,))[0]

    def quantiles(self, qs: Iterable[float]) -> list[float | None]:
        """Return one value for each level; see ``quantile``."""
        levels = list(qs)
        if not all(0 <= q <= 1 for q in levels):
            raise SketchError(f"quantile levels must lie between 0 and 1: {levels}")
        self._fold()
        if not self._count:
            return [None] * len(levels)
        ranks = [min(int(q * self._count), self._count - 1) for q in levels]
        ends = np.cumsum(self._counts)
        places = np.searchsorted(ends, np.asarray(ranks) - self._zeros, side="right")
        middles = middles_of(np.append(self._keys, 0), self._alpha).tolist()
        return [
            0.0 if rank < self._zeros else middles[place]
            for rank, place in zip(ranks, places.tolist(), strict=True)
        ]

    def values_and_counts(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the buckets' representatives, ascending, and how many values each stands for."""
        self._fold()
        values = middles_of(self._keys, self._alpha)
        if not self._zeros:
            return values, self._counts.copy()
        return (
            np.concatenate(([0.0], values)),
            np.concatenate((np.array([self._zeros], np.int64), self._counts)),
        )

    def buckets(self) -> Buckets:
        """Return keys, ascending, and counts; they are not to be written to."""
        self._fold()
        return self._keys, self._counts

    @classmethod
    def of_buckets(
        cls, keys: NDArray[np.int64], counts: NDArray[np.int64], zeros: int, alpha: float
    ) -> DDSketch:
        """Build a sketch of buckets that are known to be sound: see ``buckets``."""
        sketch = cls(alpha)
        sketch._keys, sketch._counts, sketch._zeros = keys, counts, zeros
        sketch._count = zeros + int(counts.sum())
        return sketch

    def to_state(self) -> SketchState:
        """Return the wire form."""
        self._fold()
        return SketchState.model_construct(
            alpha=self._alpha,
            keys=tuple(self._keys.tolist()),
            counts=tuple(self._counts.tolist()),
            zeros=self._zeros,
        )

    @classmethod
    def from_state(cls, state: SketchState) -> DDSketch:
        """Build a sketch from its wire form.

        Raises:
            SketchError: keys and counts do not match, keys do not ascend or lie out of range, or
                a count is not positive.

        """
        sketch = cls(state.alpha)
        sketch._keys, sketch._counts = read_buckets(state)
        sketch._zeros = state.zeros
        sketch._count = state.zeros + int(sketch._counts.sum())
        return sketch

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DDSketch):
            return NotImplemented
        self._fold()
        other._fold()
        return (
            (self._alpha, self._zeros) == (other._alpha, other._zeros)
            and np.array_equal(self._keys, other._keys)
            and np.array_equal(self._counts, other._counts)
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"DDSketch(alpha={self._alpha}, count={self._count})"

    def _combine(self, other: DDSketch, sign: int) -> None:
        if other._alpha != self._alpha:
            raise SketchError(f"alpha {self._alpha} and {other._alpha} do not merge")
        other._fold()
        keys, counts = other._keys, other._counts
        self._zeros += sign * other._zeros
        self._count += sign * other._count
        if keys.size:
            self._parts.append((keys, counts if sign == 1 else -counts))
            self._buffer(keys.size)

    def _buffer(self, size: int) -> None:
        self._buffered += max(size, _PART)
        if self._buffered > _BUFFER:
            self._fold()

    def _fold(self) -> None:
        """Sum the buffered arrays into the buckets, all in one pass."""
        if not self._buffered:
            return
        parts = self._parts
        if self._keys.size:
            parts.append((self._keys, self._counts))
        if self._raw:
            values = np.concatenate(self._raw)
            some = values[values >= MIN_VALUE]
            self._zeros += values.size - some.size
            if some.size:
                parts.append(counted(keys_of(some, self._alpha)))
        self._raw, self._parts, self._buffered = [], [], 0
        if len(parts) == 1 and parts[0][1].min() > 0:  # nothing was taken away
            self._keys, self._counts = parts[0]
        elif parts:
            self._keys, self._counts = counted(
                np.concatenate([keys for keys, _ in parts]),
                np.concatenate([counts for _, counts in parts]),
            )
