"""The population stability index: how much of a distribution has moved to other bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.base import JSON
from detectors.errors import DetectorError
from detectors.two_sample import TwoSample

__all__ = ["PsiDrift", "psi"]


def psi(reference: NDArray[np.float64], current: NDArray[np.float64], bins: int = 10) -> float:
    """Return the population stability index of two samples, each of shape (n,).

    It is the sum over the bins of (c - r) ln(c / r), the symmetric Kullback-Leibler divergence,
    with r and c each sample's share of a bin. The bins are the reference's quantiles; a value so
    frequent that it is several of them is a bin of its own. Half a value is added to each bin, so
    that an empty one does not make it infinite. By custom below 0.1 is stable and above 0.2 a
    significant shift; of two samples of one distribution it is (bins - 1) (1/n + 1/m) in the mean.

    References:
        Naeem Siddiqi: Credit Risk Scorecards. Wiley, 2006. Harold Jeffreys: An invariant form for
        the prior probability in estimation problems. Proc. R. Soc. A 186, 1946.

    Examples:
        >>> import numpy as np
        >>> first = np.arange(1_000.0)
        >>> psi(first, first)
        0.0
        >>> round(psi(first, first + 100), 2)
        0.6

    """
    edges = _edges(reference, bins)
    shares = []
    for sample in (reference, current):
        counts = np.bincount(np.searchsorted(edges, sample, side="left"), minlength=edges.size + 1)
        shares.append((counts + 0.5) / (sample.size + 0.5 * counts.size))
    first, second = shares
    from scipy.special import rel_entr  # noqa: PLC0415 - takes a while, and is needed late

    return float(np.sum(rel_entr(first, second) + rel_entr(second, first)))


def _edges(reference: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return inner bounds; each bin holds its upper one."""
    levels = np.arange(1, bins) / bins
    quantiles = np.quantile(reference, levels, method="inverted_cdf")
    edges, times = np.unique(quantiles, return_counts=True)
    atoms = np.nextafter(edges[times > 1], -np.inf)
    return np.union1d(edges, atoms)


class PsiDrift(TwoSample):
    """Detect that the newest values fall into other bins than the first ones did.

    Args:
        reference_size: how many first values are the frozen reference.
        current_size: how many newest values are compared with it.
        bins: how many quantiles of the reference are bins.
        limit: a change is detected above this.

    Raises:
        DetectorError: a size or ``bins`` is below 2.

    Examples:
        >>> import random
        >>> rng = random.Random(42)
        >>> stream = [rng.gauss(0, 1) for _ in range(1_000)]
        >>> stream += [rng.gauss(1, 1) for _ in range(500)]
        >>> detector = PsiDrift(reference_size=500, current_size=300)
        >>> for i, x in enumerate(stream):
        ...     detector.update(x)
        ...     if detector.detected:
        ...         print(f"change detected at index {i}")
        ...         break
        change detected at index 1138

    """

    def __init__(
        self,
        reference_size: int = 1_000,
        current_size: int = 300,
        bins: int = 10,
        limit: float = 0.2,
    ) -> None:
        super().__init__(reference_size, current_size)
        if bins < 2:
            raise DetectorError(f"there must be two bins at least, not {bins}")
        self._bins = bins
        self._limit = limit

    def _compare(
        self, reference: NDArray[np.float64], current: NDArray[np.float64]
    ) -> tuple[float, bool]:
        value = psi(reference, current, self._bins)
        return value, value > self._limit

    def _settings(self) -> dict[str, JSON]:
        return {
            "detector": "psi",
            "reference_size": self._reference_size,
            "current_size": self._current.maxlen,
            "bins": self._bins,
            "limit": self._limit,
        }
