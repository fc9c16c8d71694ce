"""The two-sample Kolmogorov-Smirnov test: the largest gap between two distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.base import JSON
from detectors.errors import DetectorError
from detectors.two_sample import TwoSample

__all__ = ["KsDrift", "KsResult", "ks_test"]


@dataclass(frozen=True, slots=True)
class KsResult:
    """The statistic D, between 0 and 1, and the chance of so large a D without a change."""

    statistic: float
    p_value: float


def ks_test(reference: NDArray[np.float64], current: NDArray[np.float64]) -> KsResult:
    """Compare two samples, each of shape (n,), by the asymptotic two-sided test.

    References:
        N. V. Smirnov: On the estimation of the discrepancy between empirical curves of
        distribution for two independent samples. Bull. Math. Univ. Moscow 2, 1939.

    """
    from scipy import stats  # noqa: PLC0415 - takes a second and more, and is needed late

    result = stats.ks_2samp(reference, current, method="asymp")
    return KsResult(float(result.statistic), float(result.pvalue))


class KsDrift(TwoSample):
    """Detect that the newest values are distributed otherwise than the first ones.

    The test is repeated at each look, so ``p_limit`` is far below the usual 5 %.

    Args:
        reference_size: how many first values are the frozen reference.
        current_size: how many newest values are compared with it.
        p_limit: a change is detected when chance explains it less often than this.

    Raises:
        DetectorError: a size is below 2, or the limit is not between 0 and 1.

    Examples:
        >>> import random
        >>> rng = random.Random(42)
        >>> stream = [rng.gauss(0, 1) for _ in range(1_000)]
        >>> stream += [rng.gauss(1, 1) for _ in range(500)]
        >>> ks = KsDrift(reference_size=500, current_size=200)
        >>> for i, x in enumerate(stream):
        ...     ks.update(x)
        ...     if ks.detected:
        ...         print(f"change detected at index {i}")
        ...         break
        change detected at index 1049

    """

    def __init__(
        self, reference_size: int = 1_000, current_size: int = 300, p_limit: float = 1e-4
    ) -> None:
        super().__init__(reference_size, current_size)
        if not 0 < p_limit < 1:
            raise DetectorError(f"p_limit must lie between 0 and 1, not {p_limit}")
        self._p_limit = p_limit

    def _compare(
        self, reference: NDArray[np.float64], current: NDArray[np.float64]
    ) -> tuple[float, bool]:
        result = ks_test(reference, current)
        return result.statistic, result.p_value < self._p_limit

    def _settings(self) -> dict[str, JSON]:
        return {
            "detector": "ks",
            "reference_size": self._reference_size,
            "current_size": self._current.maxlen,
            "p_limit": self._p_limit,
        }
