"""Ratios to the trailing baseline over a whole stretch, by the detector that the worker uses."""

from __future__ import annotations

import heapq
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
    n = ends.size
    medians = np.full((4, n), np.nan)
    fit = np.flatnonzero(~np.isnan(figures[0]) & (samples >= settings.minimum_samples))
    turns: list[int] = []  # where what the baseline holds changes
    place = 0
    at = 0  # up to here the medians are filled in
    current: list[float | None] | None = None
    while True:
        following = fit[np.searchsorted(fit, place) :][:1]
        taken = int(following[0]) if following.size else n
        while turns and turns[0] <= taken:
            turn = heapq.heappop(turns)
            _fill(medians, at, turn, current)
            at, current = turn, baseline.at(int(ends[turn]))
        if taken >= n:
            break
        _fill(medians, at, taken, current)
        at, current = taken, baseline.at(int(ends[taken]))
        column = [None if np.isnan(x) else float(x) for x in figures[:, taken]]
        before = baseline.last_us
        baseline.observe(int(ends[taken]), column, int(samples[taken]))
        if baseline.last_us != before:
            for later_us in (over_us, over_us + settings.horizon * over_us):
                leaves = int(np.searchsorted(ends, ends[taken] + later_us))
                if leaves < n:
                    heapq.heappush(turns, leaves)
        wait = int(ends[taken]) + max(window_us, over_us // 4)
        place = int(np.searchsorted(ends, wait))
    _fill(medians, at, n, current)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = figures / medians
        ratios[~np.isfinite(ratios)] = np.nan
        unexplained = ratios[0] / ratios[1]
    unexplained[~np.isfinite(unexplained)] = np.nan
    details = {"value": figures[0], "unexplained_ratio": unexplained}
    details |= {name: ratios[row] for row, name in enumerate(_NAMES) if row}
    return ratios[0], medians[0], details


def _fill(medians: Floats, low: int, high: int, current: list[float | None] | None) -> None:
    if current is not None and high > low:
        for row, median in enumerate(current):
            medians[row, low:high] = np.nan if median is None else median
