"""Signals over lookbacks of closed windows, for just the questions that some rule asks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from detectors.baseline import Baseline, BaselineSettings
from detectors.closed_window import Window
from detectors.measures import MEASURES, Measure, Reading
from detectors.sliding import Group, History, Lane, Totals
from schemas.base import SCHEMA_VERSION
from schemas.signal import Signal, SignalName, SignalQuery

__all__ = ["SUPPORTED", "Rolling"]

_RATIOS: Final = {
    SignalName.E2E_P95_RATIO: SignalName.E2E_P95,
    SignalName.COST_RATE_RATIO: SignalName.COST_RATE,
}
_FIGURES: Final = ("value", "traffic", "tokens_per_request", "usd_per_token")

SUPPORTED: Final = frozenset(MEASURES) | frozenset(_RATIOS)
"""The signals that Rolling answers; it leaves queries for others to other detectors."""


class Rolling:
    """Answer each query for each group at the end of each window.

    A lookback holds the windows that end in (now - over, now], ``over`` rounded up to whole
    windows. Labels of a signal are exactly those of its query; a group is told of, with value
    None and no samples, also while it is silent, until the longest lookback has passed again.

    The ratios compare with a ``Baseline`` for each query and group. ``detail`` holds, beside the
    plain value, what has changed with it, each relative to its own baseline: ``traffic_ratio``
    (requests per second), ``tokens_per_request_ratio`` and ``usd_per_token_ratio``. A cost that
    grew just as traffic did is explained by it.

    Args:
        queries: what the rules need; those not in ``SUPPORTED`` are left out.
        window_us: length of a window.
        baseline: how baselines are made.

    """

    def __init__(
        self,
        queries: Collection[SignalQuery],
        window_us: int,
        baseline: BaselineSettings | None = None,
    ) -> None:
        self._history = History(window_us)
        self._settings = baseline or BaselineSettings()
        self._asked = [
            self._ask(query) for query in dict.fromkeys(queries) if query.signal in SUPPORTED
        ]
        self._baselines: dict[tuple[SignalQuery, Group], Baseline] = {}
        self._pruned_us = 0

    def add(self, window: Window) -> None:
        """Add a closed window; a later revision takes the place of the one before."""
        self._history.add(window)

    def evaluate(self, now_end_us: int) -> list[Signal]:
        """Return the signals at the end of a window; call it once for each end, in order."""
        self._history.advance(now_end_us)
        signals = [signal for asked in self._asked for signal in self._answer(asked)]
        self._prune()
        return signals

    def _ask(self, query: SignalQuery) -> _Asked:
        measure = MEASURES[_RATIOS.get(query.signal, query.signal)]
        lane = self._history.lane(query.over_s, query.by, measure.sketches)
        return _Asked(query, measure, lane, query.signal in _RATIOS)

    def _answer(self, asked: _Asked) -> Iterator[Signal]:
        query, lane = asked.query, asked.lane
        covered_s = self._history.covered_s(lane)
        for group, totals in lane.groups.items():
            reading = asked.measure.read(totals, covered_s)
            usual = None
            if asked.ratio:
                reading, usual = self._compare(asked, group, totals, reading)
            yield Signal(
                schema_version=SCHEMA_VERSION,
                signal=query.signal,
                labels=dict(zip(query.by, group, strict=True)),
                over_s=query.over_s,
                window_end_us=lane.high_us,
                value=reading.value,
                samples=reading.samples,
                baseline=usual,
                detector="baseline" if asked.ratio else "rolling",
                detail=reading.detail,
            )

    def _compare(
        self, asked: _Asked, group: Group, totals: Totals, reading: Reading
    ) -> tuple[Reading, float | None]:
        """Turn a reading into its ratio to the baseline, and let the baseline see it."""
        now_us = asked.lane.high_us
        key = (asked.query, group)
        baseline = self._baselines.get(key)
        if baseline is None:
            baseline = Baseline(self._settings, asked.lane.over_us, self._history.window_us)
            self._baselines[key] = baseline
        figures = _figures(reading.value, totals, self._history.covered_s(asked.lane))
        medians = baseline.at(now_us) or [None] * len(figures)
        ratios = [_divide(figure, median) for figure, median in zip(figures, medians, strict=True)]
        baseline.observe(now_us, figures, reading.samples)
        detail = dict(reading.detail)
        if reading.value is not None:
            detail["value"] = reading.value
        for name, ratio in zip(_FIGURES[1:], ratios[1:], strict=True):
            if ratio is not None:
                detail[f"{name}_ratio"] = ratio
        return Reading(ratios[0], reading.samples, detail), medians[0]

    def _prune(self) -> None:
        """Drop baselines of groups not seen for a whole horizon, now and then."""
        now_us = self._history.now_us
        if now_us < self._pruned_us + self._history.longest_us:
            return
        self._pruned_us = now_us
        limit = now_us - (self._settings.horizon + 1) * self._history.longest_us
        for key in [
            key
            for key, baseline in self._baselines.items()
            if baseline.last_us <= limit and key[1] not in self._lane_groups(key[0])
        ]:
            del self._baselines[key]

    def _lane_groups(self, query: SignalQuery) -> Collection[Group]:
        return self._history.lane(query.over_s, query.by).groups


@dataclass(frozen=True, slots=True)
class _Asked:
    query: SignalQuery
    measure: Measure
    lane: Lane
    ratio: bool


def _figures(value: float | None, totals: Totals, covered_s: float) -> list[float | None]:
    tokens = totals["input_tokens"] + totals["output_tokens"]
    return [
        value,
        _divide(totals["requests"], covered_s),
        _divide(tokens, totals["requests"] - totals["tokens_unknown"]),
        _divide(totals["cost_nano_usd"] / 1e9, tokens),
    ]


def _divide(figure: float | None, by: float | None) -> float | None:
    return None if figure is None or not by else figure / by
