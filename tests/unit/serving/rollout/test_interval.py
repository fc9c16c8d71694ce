"""Bounds of a share that hold at every look."""

from __future__ import annotations

import numpy as np
import pytest

from serving.rollout.interval import share_bounds


@pytest.mark.parametrize("share", [0.002, 0.05, 0.5])
def test_the_bounds_seldom_ever_miss_the_true_share(share: float) -> None:
    """At any of 100 looks, in 300 runs."""
    random = np.random.default_rng(5)
    runs, looks, size = 300, 100, 40
    missed = 0
    for _ in range(runs):
        bad = random.binomial(size, share, looks).cumsum().tolist()
        for look, count in enumerate(bad, start=1):
            bounds = share_bounds(count, look * size)
            assert bounds is not None
            if not bounds[0] <= share <= bounds[1]:
                missed += 1
                break
    assert missed <= 0.05 * runs


@pytest.mark.parametrize(("bad", "count"), [(0, 10), (10, 10), (1, 1), (3, 1_000), (500, 10**7)])
def test_the_bounds_enclose_what_was_seen(bad: int, count: int) -> None:
    bounds = share_bounds(bad, count)
    assert bounds is not None
    low, high = bounds
    assert 0 <= low <= bad / count <= high <= 1
    assert low < high


def test_more_requests_and_a_larger_alpha_make_them_narrower() -> None:
    widths = []
    for bad, count, alpha in ((10, 100, 0.05), (100, 1_000, 0.05), (100, 1_000, 0.2)):
        bounds = share_bounds(bad, count, alpha)
        assert bounds is not None
        widths.append(bounds[1] - bounds[0])
    assert widths == sorted(widths, reverse=True)


def test_of_nothing_there_are_no_bounds() -> None:
    assert share_bounds(0, 0) is None


@pytest.mark.parametrize(("bad", "count", "alpha"), [(2, 1, 0.05), (-1, 1, 0.05), (1, 2, 0.0)])
def test_what_cannot_be_is_refused(bad: int, count: int, alpha: float) -> None:
    with pytest.raises(ValueError, match=r"bad|alpha"):
        share_bounds(bad, count, alpha)
