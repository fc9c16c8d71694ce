"""The geometry of a DDSketch's buckets: which value falls where, and what a bucket stands for."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.errors import SketchError
from schemas.window import SketchState

__all__ = [
    "MAX_COUNT",
    "MAX_VALUE",
    "MIN_VALUE",
    "Buckets",
    "counted",
    "keys_of",
    "middles_of",
    "read_buckets",
]

MIN_VALUE: Final = 1e-9
MAX_VALUE: Final = 1e12
MAX_COUNT: Final = 2**53  # counts pass through float64 when buckets are summed

Buckets = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Keys, ascending, and counts, each of shape (n,)."""


@lru_cache(maxsize=16)
def _log_gamma(alpha: float) -> float:
    return 2 * math.atanh(alpha)  # = log((1 + alpha) / (1 - alpha)), without its rounding


@lru_cache(maxsize=16)
def _key_range(alpha: float) -> tuple[int, int]:
    scale = _log_gamma(alpha)
    # One more on each side: another machine's logarithm may round to the next bucket.
    return math.floor(math.log(MIN_VALUE) / scale), math.ceil(math.log(MAX_VALUE) / scale) + 1


def keys_of(values: NDArray[np.float64], alpha: float) -> NDArray[np.int64]:
    """Return the bucket of each value, all at least ``MIN_VALUE``."""
    return np.ceil(np.log(np.minimum(values, MAX_VALUE)) / _log_gamma(alpha)).astype(np.int64)


def counted(keys: NDArray[np.int64], counts: NDArray[np.int64] | None = None) -> Buckets:
    """Return each key once, with how often it is there, or with the sum of its counts.

    Args:
        keys: in any order; one at least.
        counts: of each key; below 0 to take away. 1 each without.

    Raises:
        SketchError: more is taken away from a bucket than it holds.
    """
    low = keys.min()
    sums = np.bincount(keys - low, counts)
    if counts is not None and sums.min() < 0:
        raise SketchError("more was subtracted from a bucket than it held")
    places = np.flatnonzero(sums)
    return places + low, sums[places].astype(np.int64, copy=False)


def middles_of(keys: NDArray[np.int64], alpha: float) -> NDArray[np.float64]:
    """Return the value that each bucket stands for, ``alpha`` off its bounds at most."""
    scale = _log_gamma(alpha)
    middles: NDArray[np.float64] = np.exp(keys * scale) * (2 / (math.exp(scale) + 1))
    return middles


def read_buckets(state: SketchState) -> Buckets:
    """Return the buckets of a sketch's wire form.

    Raises:
        SketchError: keys and counts do not match or do not fit into 64 bits, keys do not ascend or
            lie out of range, or a count is not positive.

    """
    if len(state.keys) != len(state.counts):
        raise SketchError("a sketch has one count for each key")
    try:
        keys, counts = np.array(state.keys, np.int64), np.array(state.counts, np.int64)
    except OverflowError:
        raise SketchError("a sketch's numbers take 64 bits at most") from None
    if not keys.size:
        return keys, counts
    if counts.min() < 1:
        raise SketchError("a sketch's counts are positive")
    # In float64, for in int64 it might overflow.
    if int(counts.sum(dtype=np.float64)) + state.zeros > MAX_COUNT:
        raise SketchError(f"a sketch holds {MAX_COUNT} values at most")
    if (keys[1:] <= keys[:-1]).any():
        raise SketchError("a sketch's keys ascend")
    low, high = _key_range(state.alpha)
    if keys[0] < low or keys[-1] > high:
        raise SketchError(f"a sketch's keys lie between {low} and {high}")
    return keys, counts
