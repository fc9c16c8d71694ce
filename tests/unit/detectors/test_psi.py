"""PSI against its formula and on lengths that are mostly one value."""

import math

import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.psi import PsiDrift, psi


def test_formula_on_two_bins() -> None:
    reference = np.array([1.0] * 500 + [2.0] * 500)
    current = np.array([1.0] * 900 + [2.0] * 100)
    assert psi(reference, current, bins=2) == pytest.approx(
        (0.9 - 0.5) * math.log(0.9 / 0.5) + (0.1 - 0.5) * math.log(0.1 / 0.5), rel=0.01
    )


@pytest.mark.parametrize("shifted", [3.0, 5.0])
def test_constant_reference_sees_shifts_both_ways(shifted: float) -> None:
    reference = np.full(500, 4.0)
    assert psi(reference, reference) == 0
    assert psi(reference, np.full(300, shifted)) > 5


def test_empty_bin_is_finite() -> None:
    value = psi(np.arange(1_000.0), np.full(300, 1e9))
    assert math.isfinite(value)
    assert value > 5


def test_samples_of_one_distribution_are_as_far_apart_as_documented() -> None:
    rng = np.random.default_rng(1)
    values = [psi(rng.random(1_000), rng.random(300)) for _ in range(200)]
    assert np.mean(values) == pytest.approx(9 * (1 / 1_000 + 1 / 300), rel=0.15)
    assert max(values) < 0.2


def test_one_bin_is_refused() -> None:
    with pytest.raises(DetectorError):
        PsiDrift(bins=1)
