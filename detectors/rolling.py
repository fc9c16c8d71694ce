"""Signals over lookbacks of closed windows, for just the questions that some rule asks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from detectors.asked import SUPPORTED, Asked, ask
from detectors.baseline import BaselineSettings
from detectors.closed_window import Window
from detectors.errors import SnapshotError
from detectors.memory import Memory, asked_of
from detectors.sliding import Heard, History
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

    @property
    def longest_us(self) -> int:
        """Return the longest lookback; windows older than that are not looked at."""
        return self._history.longest_us

    def sketched(self) -> tuple[int, frozenset[str]]:
        """Return the longest lookback with sketches, and which quantities' they are."""
        return self._history.sketched()

    def resume(self, now_us: int, heard: Iterable[Heard], first_us: int | None) -> None:
        """Go on where another stopped, after the evaluation at ``now_us``.

        To be called before anything is added; the windows of the longest lookback are to be added
        then, in any order, and what was learnt recalled.

        Args:
            now_us: the end of the last evaluation.
            heard: the series that were heard within twice the longest lookback.
            first_us: the start of the first window ever seen, or of any before the longest
                lookback.

        """
        self._history.resume(now_us, heard, first_us)

    def asked(self) -> list[str]:
        """Return the names of the questions that something may be remembered of."""
        return [asked_of(query) for query in self._asked]

    def memories(self) -> list[Memory]:
        """Return what was learnt since the last call, for a successor to recall."""
        return [memory for asked in self._asked.values() for memory in asked.memories()]

    def recall(self, memories: Iterable[Memory]) -> None:
        """Take over what a predecessor learnt, oldest first; what nobody asks for is left.

        Raises:
            SnapshotError: some of it cannot have been learnt; the rest was taken over.

        """
        asked = {asked_of(query): answers for query, answers in self._asked.items()}
        found: dict[tuple[str, tuple[str, ...]], list[Memory]] = {}
        for memory in memories:
            if memory.asked in asked:
                found.setdefault((memory.asked, memory.series), []).append(memory)
        wrong: list[str] = []
        for (name, series), learnt in found.items():
            try:
                asked[name].recall(series, learnt)
            except SnapshotError as error:
                wrong.append(f"{name} {series}: {error}")
        if wrong:
            raise SnapshotError("; ".join(wrong))

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
