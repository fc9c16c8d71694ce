"""Signals over lookbacks of closed windows, for just the questions that some rule asks."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from detectors.asked import SUPPORTED, Asked, ask
from detectors.baseline import BaselineSettings
from detectors.closed_window import Window
from detectors.sliding import History
from schemas.base import SCHEMA_VERSION
from schemas.signal import Signal, SignalQuery

__all__ = ["SUPPORTED", "Rolling"]


class Rolling:
    """Answer each query for each group at the end of each window.

    A lookback holds the windows that end in (now - over, now], ``over`` rounded up to whole
    windows. Labels of a signal are exactly those of its query; a group is told of, with value
    None and no samples, also while it is silent, until the longest lookback has passed again.

    The ratios compare with a ``Baseline`` for each query and group. ``detail`` holds, beside the
    plain value, what has changed with it, each relative to its own baseline: ``traffic_ratio``
    (requests per second), ``tokens_per_request_ratio`` and ``usd_per_token_ratio``.
    ``unexplained_ratio`` is the value's ratio over that of traffic: a cost that grew just as
    traffic did is explained by it, and has 1.

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
        self._asked: dict[SignalQuery, Asked] = {}
        self._pruned_us = 0
        self._ask(queries)

    def add(self, window: Window) -> None:
        """Add a closed window; a later revision takes the place of the one before."""
        self._history.add(window)

    def evaluate(self, now_end_us: int) -> list[Signal]:
        """Return the signals at the end of a window; call it once for each end, in order."""
        self._history.advance(now_end_us)
        signals = [signal for asked in self._asked.values() for signal in self._answer(asked)]
        self._prune()
        return signals

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on; what the windows still held tell is not lost.

        Baselines and detectors of queries that stay go on. A new query has behind it the windows
        that were held for the old ones: their counts, and the sketches that these had asked for.
        """
        if {q for q in queries if q.signal in SUPPORTED} == self._asked.keys():
            return
        kept, self._asked = self._asked, {}
        lanes = self._history.forget_lanes()
        self._ask(queries)
        self._history.fill(lanes)
        for query, asked in self._asked.items():
            if query in kept:
                asked.take_over(kept[query])

    def _ask(self, queries: Collection[SignalQuery]) -> None:
        for query in dict.fromkeys(queries):
            if query.signal in SUPPORTED:
                self._asked[query] = ask(query, self._history, self._settings)

    def _answer(self, asked: Asked) -> Iterator[Signal]:
        query, lane = asked.query, asked.lane
        for group, totals in lane.groups.items():
            reading, usual = asked.answer(group, totals)
            yield Signal(
                schema_version=SCHEMA_VERSION,
                signal=query.signal,
                labels=dict(zip(query.by, group, strict=True)),
                over_s=query.over_s,
                window_end_us=lane.high_us,
                value=reading.value,
                samples=reading.samples,
                baseline=usual,
                detector=asked.detector,
                detail=reading.detail,
            )

    def _prune(self) -> None:
        """Drop what is remembered of groups not seen for a whole horizon, now and then."""
        now_us = self._history.now_us
        if now_us < self._pruned_us + self._history.longest_us:
            return
        self._pruned_us = now_us
        limit_us = now_us - (self._settings.horizon + 1) * self._history.longest_us
        for asked in self._asked.values():
            asked.prune(limit_us, asked.lane.groups)
