"""The trailing baseline: what it leaves out, holds out and takes in at last."""

import pytest

from detectors.baseline import Baseline, BaselineSettings
from detectors.errors import DetectorError

WINDOW = 10
OVER = 40


def make(minimum: int = 4, horizon: int = 50, minimum_samples: int = 1) -> Baseline:
    settings = BaselineSettings(
        horizon=horizon, minimum=minimum, minimum_samples=minimum_samples, limit=1.5
    )
    return Baseline(settings, OVER, WINDOW)


def feed(baseline: Baseline, values: list[float | None], start: int = 0, samples: int = 50) -> int:
    now = start
    for value in values:
        now += WINDOW
        baseline.observe(now, [value, 1.0], samples)
    return now


def test_needs_the_minimum_of_points_outside_the_lookback() -> None:
    baseline = make(minimum=4)
    now = feed(baseline, [2.0] * 4)
    assert baseline.at(now + OVER - 10) is None  # the newest point still overlaps the lookback
    assert baseline.at(now + OVER) == [2.0, 1.0]


def test_median_bears_spikes_below_the_limit() -> None:
    baseline = make()
    now = feed(baseline, [2.0, 2.9, 2.0, 2.9, 2.0, 2.0, 2.9] * 5)
    assert baseline.at(now + OVER) == [2.0, 1.0]


def test_stands_still_while_the_signal_is_bad() -> None:
    baseline = make(horizon=50)
    now = feed(baseline, [2.0] * 10)
    for _ in range(100):
        now = feed(baseline, [3.0], now)
        assert baseline.at(now) == [2.0, 1.0]
    now = feed(baseline, [2.2] * 60, now)
    assert baseline.at(now) == [2.2, 1.0]


def test_level_that_outlasts_the_horizon_is_the_new_normal() -> None:
    baseline = make(horizon=10)
    now = feed(baseline, [2.0] * 10)
    now = feed(baseline, [9.0] * 60, now)
    assert baseline.at(now) == [9.0, 1.0]


def test_improvement_is_followed() -> None:
    baseline = make(horizon=10)
    now = feed(baseline, [2.0] * 40)
    now = feed(baseline, [1.0] * 50, now)
    assert baseline.at(now) == [1.0, 1.0]


def test_unknown_and_thin_values_are_no_points() -> None:
    baseline = make(minimum_samples=20)
    now = feed(baseline, [None] * 20)
    now = feed(baseline, [7.0] * 20, now, samples=19)
    assert baseline.at(now + OVER) is None
    assert baseline.last_us == 0
    now = feed(baseline, [2.0] * 10, now)
    assert baseline.at(now) == [2.0, 1.0]


def test_points_are_a_quarter_of_a_lookback_apart() -> None:
    baseline = Baseline(BaselineSettings(minimum=4, minimum_samples=1), over_us=400, window_us=10)
    feed(baseline, [1.0] * 40)  # one lookback: points at 10, 110, 210, 310
    assert baseline.at(10_000) == [1.0, 1.0]
    assert baseline.last_us == 310


def test_figure_that_was_never_known_is_none() -> None:
    baseline = make()
    for now in range(10, 200, 10):
        baseline.observe(now, [2.0, None], 50)
    assert baseline.at(200) == [2.0, None]


def test_zero_is_a_baseline_that_holds_nothing_out() -> None:
    baseline = make()
    now = feed(baseline, [0.0] * 10)
    assert baseline.at(now + OVER) == [0.0, 1.0]
    now = feed(baseline, [5.0] * 30, now + OVER)
    assert baseline.at(now + OVER) == [5.0, 1.0]


@pytest.mark.parametrize("wrong", [{"minimum": 0}, {"horizon": 0}, {"limit": 1.0}])
def test_wrong_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(DetectorError):
        Baseline(BaselineSettings(**wrong), OVER, WINDOW)
