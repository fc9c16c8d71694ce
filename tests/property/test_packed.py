"""Packed sketches: what comes out is what went in, one by one and by the million alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import SketchError
from detectors.packed import PackedSketches, pack, unpack, unpack_all
from detectors.sketch import DDSketch

durations = st.floats(min_value=0, max_value=86_400, allow_nan=False)
wide = st.sampled_from([1e-9, 1e-3, 1.0, 1e9, 1e12, -1.0])
few = st.lists(durations | wide, max_size=60)
repeated = st.tuples(durations, st.sampled_from([1, 2, 200, 300, 70_000])).map(
    lambda pair: [pair[0]] * pair[1]
)


def of(items: list[float]) -> DDSketch:
    sketch = DDSketch()
    sketch.add(np.asarray(items, np.float64))
    return sketch


sketches = st.tuples(few, st.just([]) | repeated).map(lambda parts: of(parts[0] + parts[1]))


@given(sketches)
def test_a_sketch_comes_back(sketch: DDSketch) -> None:
    again = unpack(pack(sketch))
    assert again == sketch
    assert again.count == sketch.count
    assert again.quantiles((0.0, 0.5, 0.95, 1.0)) == sketch.quantiles((0.0, 0.5, 0.95, 1.0))


@given(st.lists(sketches, max_size=8))
def test_many_at_once_are_what_each_is_alone(given_: list[DDSketch]) -> None:
    packed = [pack(sketch) for sketch in given_]
    offsets = np.cumsum([0, *map(len, packed)])
    many = PackedSketches(np.frombuffer(b"".join(packed), np.uint8), offsets)
    assert unpack_all(packed) == given_
    assert many.counts.tolist() == [sketch.count for sketch in given_]
    assert many.zeros.tolist() == [sketch.zeros for sketch in given_]
    keys = np.concatenate([sketch.buckets()[0] for sketch in given_] or [np.empty(0, np.int64)])
    low, high = many.bounds()
    if keys.size:
        assert (low, high) == (keys.min(), keys.max())
    width = high - low + 1
    bases = np.arange(len(given_)) * width - low
    table = many.histogram(bases, len(given_) * width).reshape(len(given_), width)
    places, counts = many.entries(bases)
    assert np.array_equal(
        np.bincount(places, counts, table.size).astype(np.int64), table.reshape(-1)
    )
    for row, sketch in zip(table, given_, strict=True):
        found = np.flatnonzero(row)
        assert np.array_equal(found + low, sketch.buckets()[0])
        assert np.array_equal(row[found], sketch.buckets()[1])


def test_few_values_take_a_byte_each_and_many_a_byte_or_two_a_bucket() -> None:
    rng = np.random.default_rng(1)
    few_values, many_values = DDSketch(), DDSketch()
    few_values.add(rng.lognormal(0, 0.3, 50))
    many_values.add(rng.lognormal(0, 0.3, 100_000))
    assert len(pack(few_values)) <= 20 + 50 + 10
    assert len(pack(many_values)) == 20 + 3 * many_values.buckets()[0].size
    assert pack(DDSketch()) == b""


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [(0, 2, "version"), (1, 3, "gaps"), (2, 3, "counts"), (10, 9, "as long")],
)
def test_other_bytes_are_refused(place: int, value: int, why: str) -> None:
    data = bytearray(pack(of([1.0, 2.0])))
    data[place] = value
    with pytest.raises(SketchError, match=why):
        unpack(bytes(data))
    with pytest.raises(SketchError):
        unpack(bytes(data[:-1]))


def test_counts_of_nothing_and_several_alphas_are_refused() -> None:
    data = bytearray(pack(of([1.0] * 9)))
    data[-1] = 0
    with pytest.raises(SketchError, match="positive"):
        unpack(bytes(data))
    other = DDSketch(0.01)
    other.add(np.array([1.0]))
    mixed = pack(other), pack(of([1.0]))
    assert unpack(mixed[0]) == other
    with pytest.raises(SketchError, match="alphas"):
        PackedSketches(np.frombuffer(b"".join(mixed), np.uint8), np.cumsum([0, *map(len, mixed)]))
    odd = DDSketch(0.0051234)
    odd.add(np.array([1.0]))
    with pytest.raises(SketchError, match="multiple"):
        pack(odd)
