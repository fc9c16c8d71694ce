"""The sketch's edges: bounds of its range, and what it refuses."""

import numpy as np
import pytest

from detectors.errors import SketchError
from detectors.sketch import DDSketch
from schemas.window import SketchState
from tests.unit.detectors.windows import sketch_of


def test_empty_sketch_knows_nothing() -> None:
    sketch = DDSketch()
    assert sketch.count == 0
    assert sketch.quantiles([0, 0.5, 1]) == [None, None, None]
    assert [part.size for part in sketch.values_and_counts()] == [0, 0]


def test_values_below_the_range_are_zeros_and_above_it_the_largest() -> None:
    sketch = sketch_of([-3.0, 0.0, 1e-10, 1e30, np.inf])
    assert (sketch.zeros, sketch.count) == (3, 5)
    assert sketch.quantiles([0.0, 0.5]) == [0.0, 0.0]
    assert sketch.quantile(1.0) == pytest.approx(1e12, rel=0.005)


def test_memory_is_bounded_whatever_comes() -> None:
    rng = np.random.default_rng(1)
    sketch = DDSketch()
    for _ in range(50):
        sketch.add(10.0 ** rng.uniform(-12, 15, 10_000))
    assert sketch.count == 500_000
    assert len(sketch.to_state().keys) <= 4_840


def test_the_callers_array_may_be_used_again() -> None:
    values = np.array([1.0, 2.0])
    sketch = DDSketch()
    sketch.add(values)
    values[:] = 99
    assert sketch == sketch_of([1.0, 2.0])


def test_a_sketch_may_be_merged_with_itself() -> None:
    sketch = sketch_of([0.0, 1.0, 2.0])
    sketch.merge(sketch)
    assert sketch == sketch_of([0.0, 1.0, 2.0] * 2)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_wrong_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(SketchError):
        DDSketch(alpha)


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_wrong_level_is_refused(q: float) -> None:
    with pytest.raises(SketchError):
        sketch_of([1.0]).quantile(q)


def test_sketches_of_two_precisions_do_not_merge() -> None:
    with pytest.raises(SketchError):
        sketch_of([1.0]).merge(DDSketch(0.01))


@pytest.mark.parametrize(("held", "taken"), [([1.0], [1.0, 1.0]), ([1.0, 1.0], [0.0])])
def test_more_than_it_holds_cannot_be_subtracted(held: list[float], taken: list[float]) -> None:
    with pytest.raises(SketchError):
        sketch_of(held).subtract(sketch_of(taken))


def test_what_was_never_merged_is_found_out_when_subtracted() -> None:
    for held in ([1.0, 1.0], [0.0, 0.0]):
        sketch = sketch_of(held)
        sketch.subtract(sketch_of([7.0]))
        with pytest.raises(SketchError):
            sketch.quantile(0.5)


@pytest.mark.parametrize(
    ("keys", "counts", "zeros", "said"),
    [
        ((1, 2), (1,), 0, "one count for each key"),
        ((1, 2), (1, 0), 0, "positive"),
        ((2, 1), (1, 1), 0, "ascend"),
        ((1, 1), (1, 1), 0, "ascend"),
        ((-(2**40),), (1,), 0, "lie between"),
        ((2**40,), (1,), 0, "lie between"),
        ((2**70,), (1,), 0, "64 bits"),
        ((1,), (2**70,), 0, "64 bits"),
        ((1, 2), (2**62, 2**62), 0, "at most"),
        ((1,), (1,), 2**53, "at most"),
    ],
)
def test_a_malformed_state_is_refused(
    keys: tuple[int, ...], counts: tuple[int, ...], zeros: int, said: str
) -> None:
    with pytest.raises(SketchError, match=said):
        DDSketch.from_state(SketchState(alpha=0.005, keys=keys, counts=counts, zeros=zeros))


def test_a_state_without_buckets_holds_zeros_alone() -> None:
    sketch = DDSketch.from_state(SketchState(alpha=0.005, zeros=3))
    assert (sketch.count, sketch.zeros, sketch.quantile(0.5)) == (3, 3, 0.0)
