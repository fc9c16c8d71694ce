"""Ratios to the trailing baseline over a whole stretch, by the detector that the worker uses."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Mapping

import numpy as np

from detectors.baseline import Baseline, BaselineSettings
from detectors.relative import WORSE
from schemas.signal import SignalName
from tocsin.backtest.series import Floats, Ints

__all__ = ["compare"]

_NAMES = ("value", "traffic_ratio", "tokens_per_request_ratio", "usd_per_token_ratio")


def compare(
    quantity: SignalName,
    ends: Ints,
    figures: Floats,
    samples: Ints,
    over_us: int,
    window_us: int,
    settings: BaselineSettings,
) -> tuple[Floats, Floats, Mapping[str, Floats]]:
    """Return ratios, baselines and details at each end.

    The baseline changes only when a value is taken in, leaves the current lookback, or leaves the
    horizon; it is asked just then.

    Args:
        quantity: what the first figure is.
        ends: ends of windows, ascending, shape (n,).
        figures: value, traffic, tokens a request, USD a token; shape (4, n), NaN unknown.
        samples: what stands behind each value, shape (n,).
        over_us: the lookback.
        window_us: length of a window.
        settings: how the baseline is made.
    """
    baseline = Baseline(settings, over_us, window_us, WORSE.get(quantity, "above"))
    times: list[int] = ends.tolist()  # Python's own numbers: a baseline takes one at a time
    fit: list[int] = np.flatnonzero(
        ~np.isnan(figures[0]) & (samples >= settings.minimum_samples)
    ).tolist()
    turns: list[int] = []  # where what the baseline holds changes
    steps: list[tuple[int, list[float | None] | None]] = [(0, None)]
    wait_us = max(window_us, over_us // 4)
    following = 0
    while following < len(fit):
        taken = fit[following]
        _turn(baseline, times, turns, taken, steps)
        steps.append((taken, baseline.at(times[taken])))
        column = [None if x != x else x for x in figures[:, taken].tolist()]  # noqa: PLR0124 - NaN
        before = baseline.last_us
        baseline.observe(times[taken], column, int(samples[taken]))
        if baseline.last_us != before:
            for later_us in (over_us, over_us + settings.horizon * over_us):
                leaves = bisect_left(times, times[taken] + later_us)
                if leaves < len(times):
                    heapq.heappush(turns, leaves)
        place = bisect_left(times, times[taken] + wait_us, taken)
        following = bisect_left(fit, place, following)
    _turn(baseline, times, turns, len(times), steps)
    medians = _medians(steps, len(times))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = figures / medians
        ratios[~np.isfinite(ratios)] = np.nan
        unexplained = ratios[0] / ratios[1]
    unexplained[~np.isfinite(unexplained)] = np.nan
    details = {"value": figures[0], "unexplained_ratio": unexplained}
    details |= {name: ratios[row] for row, name in enumerate(_NAMES) if row}
    return ratios[0], medians[0], details


def _turn(
    baseline: Baseline,
    times: list[int],
    turns: list[int],
    until: int,
    steps: list[tuple[int, list[float | None] | None]],
) -> None:
    """Ask the baseline wherever what it holds changes, up to a place."""
    while turns and turns[0] <= until:
        turn = heapq.heappop(turns)
        steps.append((turn, baseline.at(times[turn])))


def _medians(steps: list[tuple[int, list[float | None] | None]], count: int) -> Floats:
    """Return the medians at each place, shape (4, n): each step's up to the next."""
    unknown = [np.nan] * 4
    table = np.array([unknown if medians is None else medians for _, medians in steps], np.float64)
    places = np.array([place for place, _ in steps] + [count])
    result: Floats = np.repeat(table, np.diff(places), axis=0).T
    return result
