"""KS against its definition."""

import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.ks import KsDrift, ks_test
from detectors.two_sample import sample_of
from tests.unit.detectors.windows import sketch_of


def test_statistic_is_the_largest_gap() -> None:
    assert ks_test(np.array([1.0, 2, 3, 4]), np.array([3.0, 4, 5, 6])).statistic == 0.5
    assert ks_test(np.arange(500.0), np.arange(500.0)).p_value == 1


def test_sketches_give_the_statistic_of_their_values() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.lognormal(6, 1, 2_000), rng.lognormal(6.3, 1, 500)
    exact = ks_test(first, second).statistic
    sketched = ks_test(sample_of(sketch_of(first.tolist())), sample_of(sketch_of(second.tolist())))
    assert sketched.statistic == pytest.approx(exact, abs=0.01)


def test_large_sketch_gives_a_bounded_sample_of_its_shape() -> None:
    values = np.random.default_rng(3).lognormal(6, 1, 50_000)
    sample = sample_of(sketch_of(values.tolist()), 1_000)
    assert sample.size == 1_000
    assert np.quantile(sample, [0.1, 0.5, 0.9]) == pytest.approx(
        np.quantile(values, [0.1, 0.5, 0.9]), rel=0.02
    )


@pytest.mark.parametrize("wrong", [{"p_limit": 0.0}, {"reference_size": 1}, {"current_size": 1}])
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DetectorError):
        KsDrift(**wrong)  # type: ignore[arg-type]
