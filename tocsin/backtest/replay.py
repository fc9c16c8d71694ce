"""The worker's own steps over columns: only where a step can change anything is one taken.

An alert at rest changes on bad values alone, so between them nothing needs doing. An open alert
whose value stays bad, with no action under way and no step of its ladder due, changes only at the
first value that is not bad, or when the next step falls due; one that is without any data stays as
it is until there are some. What is left out is just what ``alerting.machine.step`` would have
answered with the same phase and without effects.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alerting.policy import Policy
from alerting.rehearsal import Answer, Rehearsal, Says
from alerting.rules.kind import RuleKind
from alerting.rules.model import Rule
from alerting.rules.ruleset import RuleSet
from alerting.state import AlertState
from schemas.base import SCHEMA_VERSION
from schemas.signal import Signal
from tocsin.backtest.series import Floats, Ints, Series

__all__ = ["Replay"]

_NEVER: Final = 2**62


@dataclass(slots=True)
class _Track:
    """One rule on one series; times where it is bad, known, and where there is anything at all."""

    rule: Rule
    series: Series
    rank: int
    bad_us: Ints
    other_us: Ints
    """Ends at which the value is not bad: good, or told of but unknown."""
    some_us: Ints
    """Ends at which any sample is there."""
    next_us: int = 0

    def signal(self, end_us: int) -> Signal | None:
        """Return what was said at an end; None when nothing was."""
        ends = self.series.ends
        place = int(np.searchsorted(ends, end_us))
        if place >= ends.size or int(ends[place]) != end_us:
            return None
        return self.series.signal(place)


class Replay:
    """Run rules over series in the order in which the worker would have seen them.

    Args:
        rules: the rules, their durations as they are to be applied.
        policy: what may act.
        answer: the executor.
        ends: the ends of all evaluations, ascending.
        lags: the watermark's lag at each, NaN where it is unknown.
        max_lag_s: rules hold while the watermark lags more than this.
        says: the people who approve.
    """

    def __init__(
        self,
        rules: RuleSet,
        policy: Policy,
        answer: Answer,
        ends: Ints,
        lags: Floats,
        *,
        max_lag_s: float,
        says: Says = lambda _: None,
    ) -> None:
        self.rehearsal = Rehearsal(rules, policy, answer, max_lag_s=max_lag_s, says=says)
        self._rules = rules
        self._ends = ends
        with np.errstate(invalid="ignore"):
            late = lags > max_lag_s
        # The lag is an evaluation's last signal: it holds the rules in the next, and in this one
        # those whose series was not heard.
        self._late: NDArray[np.bool_] = late
        held = np.append(False, late[:-1])
        turns = (held[1:] != held[:-1]) | (late[1:] != late[:-1])
        self._turns = ends[np.flatnonzero(turns) + 1]
        self._tracks: list[_Track] = []
        self._present: set[str] = set()
        self._steps = 0

    @property
    def steps(self) -> int:
        """Return how many steps were taken."""
        return self._steps

    def add(self, rank: int, series: Series) -> None:
        """Add what was said of one series; ``rank`` orders the signals of one evaluation."""
        for rule in self._rules.rules:
            if rule.query != series.query or not rule.speaks_of(series.labels):
                continue
            bad_us = series.ends[series.bad(rule)]
            if rule.expected_labels == series.labels:
                self._present.add(rule.name)
                bad_us = np.union1d(bad_us, self._missed(rule, series.ends))
            if bad_us.size:
                ends = series.ends
                other_us = np.setdiff1d(ends, bad_us, assume_unique=True)
                some_us = ends[series.samples > 0]
                self._tracks.append(_Track(rule, series, rank, bad_us, other_us, some_us))

    def run(self) -> Rehearsal:
        """Take every step that changes anything, in order; return what was decided."""
        for rule in self._rules.rules:
            if rule.expected_labels is not None and rule.name not in self._present:
                self._add_missing(rule, rule.expected_labels)
        self._tracks.sort(key=lambda track: track.rank)
        queue = [(int(track.bad_us[0]), number) for number, track in enumerate(self._tracks)]
        for end_us, number in queue:
            self._tracks[number].next_us = end_us
        heapq.heapify(queue)
        while queue:
            end_us = queue[0][0]
            due = []
            while queue and queue[0][0] == end_us:
                number = heapq.heappop(queue)[1]
                if self._tracks[number].next_us == end_us and number not in due:
                    due.append(number)
            self._evaluate(end_us, sorted(due), queue)
        return self.rehearsal

    def _evaluate(self, end_us: int, due: Iterable[int], queue: list[tuple[int, int]]) -> None:
        rehearsal = self.rehearsal
        place = int(np.searchsorted(self._ends, end_us))
        rehearsal.evaluator.lagging = place > 0 and bool(self._late[place - 1])
        rehearsal.evaluator.heard.clear()
        signals = [(number, self._tracks[number].signal(end_us)) for number in due]
        decided = rehearsal.decided
        # What was said is seen first; what is missing, only when the evaluation ends.
        for number, signal in sorted(signals, key=lambda pair: pair[1] is None):
            track = self._tracks[number]
            if signal is None:
                rehearsal.evaluator.lagging = bool(self._late[place])
            seen = signal if signal is not None else self._missing(track, end_us)
            state = rehearsal.step(track.rule, seen)
            self._steps += 1
            self._plan(number, self._next(track, state, end_us), queue)
        if rehearsal.decided != decided:  # an action may have moved other series' traffic away
            for number, track in enumerate(self._tracks):
                now = rehearsal.state_of(track.rule, track.series.labels)
                if now is not None and not now.idle:
                    self._plan(number, _after(self._ends, end_us), queue)

    def _plan(self, number: int, next_us: int, queue: list[tuple[int, int]]) -> None:
        self._tracks[number].next_us = next_us
        if next_us < _NEVER:
            heapq.heappush(queue, (next_us, number))

    def _next(self, track: _Track, state: AlertState, now_us: int) -> int:
        """Return the next end at which the alert must step."""
        if state.idle:
            return _after(track.bad_us, now_us)
        busy = state.waiting or state.awaiting or state.verifying
        if busy is not None or not state.open:
            return _after(self._ends, now_us)
        due_us = [
            (state.firing_us or 0) + round(step.after_s * 1e6)
            for step in track.rule.ladder
            if state.record_of(step.name) is None
        ]
        if any(us <= now_us for us in due_us):
            return _after(self._ends, now_us)
        lag_us = _after(self._turns, now_us)
        if state.unknown_us is None and state.clear_us is None:  # bad, and so it stays
            silent_us = self._silence(track, now_us)
            step_us = _from(self._ends, min(due_us, default=_NEVER))
            return min(_after(track.other_us, now_us), silent_us, step_us, lag_us)
        if self._without_data(state):
            return min(_after(track.some_us, now_us), _after(track.bad_us, now_us), lag_us)
        return _after(self._ends, now_us)

    def _without_data(self, state: AlertState) -> bool:
        """Tell whether an open alert waits for data, and for nothing else."""
        return (
            state.unknown_us is not None
            and state.said_no_data
            and state.relieved_us is None
            and not self.rehearsal.evaluator.lagging
            and not any(record.in_force for record in state.taken)
        )

    def _silence(self, track: _Track, now_us: int) -> int:
        """Return the next evaluation at which nothing is said of the series."""
        place = int(np.searchsorted(self._ends, now_us, side="right"))
        here = int(np.searchsorted(track.series.ends, now_us, side="right"))
        ahead = min(self._ends.size - place, track.series.ends.size - here)
        differs = np.flatnonzero(
            self._ends[place : place + ahead] != track.series.ends[here : here + ahead]
        )
        step = int(differs[0]) if differs.size else ahead
        return int(self._ends[place + step]) if place + step < self._ends.size else _NEVER

    def _missing(self, track: _Track, end_us: int) -> Signal:
        rule = track.rule
        return Signal.model_construct(
            schema_version=SCHEMA_VERSION,
            signal=rule.signal,
            labels=track.series.labels,
            over_s=rule.over_s,
            window_end_us=end_us,
            value=0.0 if rule.kind is RuleKind.ABSENCE and self._covered(rule, end_us) else None,
            samples=0,
            baseline=None,
            detector="absent",
            detail={},
        )

    def _covered(self, rule: Rule, end_us: int) -> bool:
        return end_us - int(self._ends[0]) >= round(rule.over_s * 1e6)

    def _missed(self, rule: Rule, told: Ints) -> Ints:
        """Return the ends at which an expected series is known to be missing."""
        covered = self._ends[self._ends - self._ends[0] >= round(rule.over_s * 1e6)]
        return np.setdiff1d(covered, told, assume_unique=True)

    def _add_missing(self, rule: Rule, labels: dict[str, str]) -> None:
        """Add an expected series that nothing was ever said of."""
        none = np.empty(0, np.int64)
        missed = self._missed(rule, none)
        if missed.size:
            series = Series(rule.query, labels, none, np.empty(0), none)
            self._tracks.append(_Track(rule, series, 0, missed, none, none))


def _after(ends: Ints, now_us: int) -> int:
    place = int(np.searchsorted(ends, now_us, side="right"))
    return int(ends[place]) if place < ends.size else _NEVER


def _from(ends: Ints, at_us: int) -> int:
    place = int(np.searchsorted(ends, at_us))
    return int(ends[place]) if place < ends.size else _NEVER
