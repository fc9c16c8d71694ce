"""The sample is the same everywhere, as large as asked, and grows by adding only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detectors.errors import DetectorError
from detectors.sampling import sampled

ids = st.lists(st.text(max_size=40), max_size=60)
rates = st.floats(0, 1)


@given(ids, rates, rates)
def test_larger_rate_only_adds(request_ids: list[str], one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert np.all(sampled(request_ids, small) <= sampled(request_ids, large))


@given(ids, rates)
def test_each_id_is_judged_for_itself(request_ids: list[str], rate: float) -> None:
    together = sampled(request_ids, rate)
    assert together.dtype == np.bool_
    assert together.tolist() == [sampled([i], rate)[0] for i in request_ids]
    assert together[::-1].tolist() == sampled(request_ids[::-1], rate).tolist()


@given(ids)
def test_none_and_all(request_ids: list[str]) -> None:
    assert not sampled(request_ids, 0).any()
    assert sampled(request_ids, 1).all()


@given(st.sampled_from(["req-{}", "{}", "chatcmpl-{:032x}"]), st.sampled_from([0.01, 0.05, 0.5]))
def test_size_is_within_binomial_limits(shape: str, rate: float) -> None:
    n = 5_000
    taken = int(sampled([shape.format(i) for i in range(n)], rate).sum())
    low, high = stats.binom.interval(1 - 1e-6, n, rate)
    assert low <= taken <= high


def test_sample_is_the_same_in_every_version() -> None:
    # A change of the hash would make workers of two versions judge different requests.
    chosen = sampled([f"req-{i}" for i in range(100)], 0.05)
    assert chosen.nonzero()[0].tolist() == [27, 33, 38, 55, 60, 62]


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_wrong_rate_is_refused(rate: float) -> None:
    with pytest.raises(DetectorError):
        sampled(["a"], rate)
