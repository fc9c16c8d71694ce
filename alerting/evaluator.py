"""Which rules look at which signals, and what is missing when an evaluation ends. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from alerting.identity import fingerprint_of
from alerting.rules.kind import RuleKind
from alerting.rules.model import Rule
from alerting.rules.ruleset import RuleSet
from alerting.state import AlertState
from schemas.base import SCHEMA_VERSION, Labels
from schemas.signal import HELD, Signal, SignalName

__all__ = ["Evaluator", "Withdrawn"]


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """An alert whose rule is gone, or no longer speaks of its series; ``rule`` is the old one."""

    rule: Rule
    state: AlertState


class Evaluator:
    """Hands each signal to the rules that asked for it, in the order of the file.

    An evaluation is all signals of one window's end. The watermark's lag is its last, so that when
    it comes, every open alert whose series was not heard is given an unknown value: silence is
    seen as well. Between evaluations, while windows do not close, the lag is said alone: rules hold
    by it, and nothing else is concluded. A rule on absence is given nought instead, as is the
    series that it expects by name, once evaluations have gone on for its whole lookback; until
    then nobody can tell.

    Args:
        rules: the rules in force.
        max_lag_s: rules hold while the watermark lags more than this.

    Attributes:
        rules: the rules in force.
        lagging: whether the last evaluation ended late.
        heard: fingerprints stepped in this evaluation; the caller adds them.
    """

    def __init__(self, rules: RuleSet, *, max_lag_s: float) -> None:
        self.rules = rules
        self.lagging = False
        self.heard: set[str] = set()
        self._max_lag_s = max_lag_s
        self._since_us: int | None = None
        self._next: RuleSet | None = None

    @staticmethod
    def ends(signal: Signal) -> bool:
        """Tell whether a signal is the last of its evaluation."""
        return _tells_lag(signal) and signal.detector != HELD

    def due(
        self, signal: Signal, live: Callable[[], Iterable[AlertState]]
    ) -> Iterator[tuple[Rule, Signal]]:
        """Yield each rule that must step, with the signal to step on.

        ``live`` returns the states that are not at rest; it is asked when an evaluation ends.
        """
        end_us = signal.window_end_us
        if self._since_us is None:
            self._since_us = end_us
        ends = self.ends(signal)
        if _tells_lag(signal):
            self.lagging = signal.value is not None and signal.value > self._max_lag_s
        for rule in self.rules.for_signal(signal):
            yield rule, signal
        if ends:
            yield from list(self._unheard(end_us, live()))
            self.heard.clear()

    def adopt(self, rules: RuleSet) -> None:
        """Take other rules over; they are in force from ``take_over`` on."""
        self._next = rules

    def take_over(self, live: Callable[[], Iterable[AlertState]]) -> list[Withdrawn] | None:
        """Put adopted rules in force, between two evaluations.

        Returns:
            the alerts that no rule speaks of any more; None when nothing was adopted.
        """
        rules, self._next = self._next, None
        if rules is None:
            return None
        old, self.rules = self.rules, rules
        return self.withdrawn(old, live())

    def withdrawn(self, old: RuleSet, live: Iterable[AlertState]) -> list[Withdrawn]:
        """Return the alerts of older rules that no rule in force speaks of any more."""
        gone = []
        for state in live:
            before, after = old.by_name.get(state.rule), self.rules.by_name.get(state.rule)
            if before is not None and (after is None or not after.speaks_of(state.labels)):
                gone.append(Withdrawn(before, state))
        return gone

    def _unheard(self, end_us: int, live: Iterable[AlertState]) -> Iterator[tuple[Rule, Signal]]:
        told = set(self.heard)
        for state in live:
            rule = self.rules.by_name.get(state.rule)
            if rule is None or state.idle or state.fingerprint in told:
                continue
            if rule.speaks_of(state.labels):  # a rule may have got other labels since
                told.add(state.fingerprint)
                yield rule, self._missing(rule, state.labels, end_us)
        for rule in self.rules.rules:
            labels = rule.expected_labels
            if labels is not None and fingerprint_of(rule.name, labels) not in told:
                yield rule, self._missing(rule, labels, end_us)

    def _missing(self, rule: Rule, labels: Labels, end_us: int) -> Signal:
        since_us = end_us if self._since_us is None else self._since_us
        known = rule.kind is RuleKind.ABSENCE and end_us - since_us >= round(rule.over_s * 1e6)
        return Signal(
            schema_version=SCHEMA_VERSION,
            signal=rule.signal,
            labels=labels,
            over_s=rule.over_s,
            window_end_us=end_us,
            value=0.0 if known else None,
            samples=0,
            detector="absent",
        )


def _tells_lag(signal: Signal) -> bool:
    return signal.signal is SignalName.WATERMARK_LAG and not signal.labels
