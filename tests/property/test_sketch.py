"""DDSketch against the exact element, and the algebra that merging relies on."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.sketch import DDSketch
from schemas.window import SketchState

ALPHA = 0.005

durations = st.floats(min_value=0, max_value=86_400, allow_nan=False).filter(
    lambda x: x == 0 or x >= 1e-9
)
tokens = st.integers(min_value=0, max_value=1_000_000_000).map(float)
values = st.lists(durations | tokens, max_size=200)
some_values = st.lists(durations | tokens, min_size=1, max_size=200)
levels = st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0]) | st.floats(0, 1)


def of(items: list[float]) -> DDSketch:
    sketch = DDSketch(ALPHA)
    sketch.add(np.asarray(items, np.float64))
    return sketch


def exact(items: list[float], q: float) -> float:
    """Return what ClickHouse's quantileExact gives: element floor(q * n) of the sorted values."""
    rank = int(q * len(items)) if q < 1 else len(items) - 1
    return sorted(items)[min(rank, len(items) - 1)]


@given(some_values, levels)
def test_quantile_is_within_alpha_of_the_exact_element(items: list[float], q: float) -> None:
    answer = of(items).quantile(q)
    wanted = exact(items, q)
    assert answer is not None
    assert abs(answer - wanted) <= ALPHA * wanted * (1 + 1e-9)


@given(values, values)
def test_merge_is_union(left: list[float], right: list[float]) -> None:
    merged = of(left)
    merged.merge(of(right))
    assert merged == of(left + right)
    assert merged.count == len(left) + len(right)


@given(values, values, values)
def test_merge_is_associative_and_commutative(
    a: list[float], b: list[float], c: list[float]
) -> None:
    left = of(a)
    left.merge(of(b))
    left.merge(of(c))
    tail = of(c)
    tail.merge(of(b))
    tail.merge(of(a))
    assert left == tail


@given(values, values)
def test_subtract_undoes_merge(a: list[float], b: list[float]) -> None:
    sketch = of(a)
    sketch.merge(of(b))
    sketch.subtract(of(b))
    assert sketch == of(a)
    assert sketch.to_state() == of(a).to_state()


@given(values)
def test_wire_form_round_trips(items: list[float]) -> None:
    sketch = of(items)
    wire = sketch.to_state().to_json()
    assert DDSketch.from_state(SketchState.model_validate_json(wire)) == sketch


@given(values, st.integers(0, 50))
def test_nan_is_unknown_and_not_zero(items: list[float], unknown: int) -> None:
    assert of(items + [math.nan] * unknown) == of(items)


@given(values)
def test_representatives_hold_every_value(items: list[float]) -> None:
    middles, counts = of(items).values_and_counts()
    assert counts.sum() == len(items)
    rebuilt: NDArray[np.float64] = np.repeat(middles, counts)
    assert np.allclose(rebuilt, np.sort(items), rtol=ALPHA * (1 + 1e-9), atol=0)
    assert np.all(np.diff(middles) > 0)


@given(some_values)
def test_state_may_not_be_touched_through_a_copy(items: list[float]) -> None:
    sketch = of(items)
    before = sketch.to_state()
    twin = sketch.copy()
    twin.merge(of(items))
    assert sketch.to_state() == before
    assert twin.count == 2 * sketch.count


@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 19, 20, 21, 100, 10_000])
def test_lognormal_latency_is_within_one_percent(n: int, q: float) -> None:
    items = np.random.default_rng(7).lognormal(0, 1.5, n)
    answer = of(items.tolist()).quantile(q)
    assert answer == pytest.approx(exact(items.tolist(), q), rel=0.01)
