"""Quantiles of many lookbacks at once are what merged sketches say, bit for bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.errors import SketchError
from detectors.packed import PackedSketches, pack
from detectors.sketch import DDSketch
from detectors.sliding_quantiles import Lookback, SlidingQuantiles

LOOKBACKS = [Lookback(1, 0.5), Lookback(3, 0.95), Lookback(7, 0.0), Lookback(7, 1.0)]


def packed_of(sketches: list[DDSketch]) -> PackedSketches:
    parts = [pack(sketch) for sketch in sketches]
    offsets = np.cumsum([0, *map(len, parts)])
    return PackedSketches(np.frombuffer(b"".join(parts), np.uint8), offsets)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_every_lookback_is_the_quantile_of_its_windows_merged(
    seed: int, stretches: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    series, total = 3, sum(stretches)
    held: list[tuple[int, int, DDSketch]] = []  # two rows may be of one cell
    for _ in range(int(rng.integers(1, 3 * total))):
        sketch = DDSketch()
        values = rng.lognormal(rng.normal(0, 3), 1, int(rng.integers(0, 30)))
        sketch.add(np.concatenate([values, np.zeros(int(rng.integers(0, 3)))]))
        held.append((int(rng.integers(series)), int(rng.integers(total)), sketch))
    sliding = SlidingQuantiles(series, LOOKBACKS)
    begin = 0
    for stretch in stretches:
        rows = [row for row in held if begin <= row[1] < begin + stretch]
        told = sliding.add(
            packed_of([sketch for _, _, sketch in rows]),
            np.array([number for number, _, _ in rows], np.int64),
            np.array([window - begin for _, window, _ in rows], np.int64),
            stretch,
        )
        for item, (values, counts) in zip(LOOKBACKS, told, strict=True):
            for number in range(series):
                for window in range(begin, begin + stretch):
                    merged = DDSketch()
                    for other, at, sketch in held:
                        if other == number and window - item.windows < at <= window:
                            merged.merge(sketch)
                    value = values[number, window - begin]
                    assert counts[number, window - begin] == merged.count
                    assert (None if math.isnan(value) else value) == merged.quantile(item.level)
        begin += stretch


def test_sums_that_no_longer_fit_say_the_same() -> None:
    sketch = DDSketch.of_buckets(np.array([3, 40]), np.array([2 * 10**9, 10**9]), 0, 0.005)
    stretch = 4  # 12e9 in all, more than 2**32, and 3e9 in a lookback
    told = SlidingQuantiles(1, [Lookback(1, 0.5), Lookback(1, 0.9)]).add(
        packed_of([sketch] * stretch), np.zeros(stretch, np.int64), np.arange(stretch), stretch
    )
    for (values, counts), level in zip(told, (0.5, 0.9), strict=True):
        assert values.tolist() == [[sketch.quantile(level)] * stretch]
        assert counts.tolist() == [[3 * 10**9] * stretch]


def test_what_cannot_be_asked_is_refused() -> None:
    for wrong in (Lookback(0, 0.5), Lookback(1, 1.5)):
        with pytest.raises(SketchError, match="lookbacks"):
            SlidingQuantiles(1, [wrong])
    coarse = DDSketch(0.01)
    coarse.add(np.array([1.0]))
    at = np.zeros(1, np.int64)
    with pytest.raises(SketchError, match="alpha"):
        SlidingQuantiles(1, LOOKBACKS).add(packed_of([coarse]), at, at, 1)
