"""Medians, percentiles, slopes, and what the runs of a contender come to."""

from __future__ import annotations

import pytest

from benchmarks.core.measured import Measured, percentile, slope, spread, summary


def test_spread() -> None:
    assert spread([3.0, 1.0, 2.0]).as_dict() == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert spread([1.0, 4.0]).median == 2.5


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [
        ([5.0], 0.99, 5.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([4.0, 1.0, 3.0, 2.0], 1.0, 4.0),
        ([4.0, 1.0, 3.0, 2.0], 0.0, 1.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 102)], 0.99, 100.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], q: float, expected: float) -> None:
    assert percentile(values, q) == expected


@pytest.mark.parametrize(("values", "q"), [([], 0.5), ([1.0], 1.5), ([1.0], -0.1)])
def test_percentile_refuses(values: list[float], q: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile(values, q)


def test_slope() -> None:
    assert slope([(0, 10), (1, 12), (2, 14)]) == pytest.approx(2)
    assert slope([(0, 10), (1, 20), (2, 10)]) == pytest.approx(0)
    assert slope([(0, 10)]) == 0
    assert slope([(3, 10), (3, 20)]) == 0


def test_summary() -> None:
    runs = [
        Measured(1_000, 2.0, 1.0, 100.0, {"store_cpu_s": 0.5}),
        Measured(1_000, 1.0, 3.0, 300.0, {"store_cpu_s": 1.5}),
    ]
    figures = summary(runs)
    assert figures["runs"] == 2
    assert figures["events_per_s"] == {"median": 750.0, "min": 500.0, "max": 1_000.0}
    assert figures["cpu_s_per_million"] == {"median": 2_000.0, "min": 1_000.0, "max": 3_000.0}
    assert figures["peak_rss_mb"]["max"] == 300.0
    assert figures["store_cpu_s"]["median"] == 1.0
