"""Running the unit tests of rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alerting.errors import RulesError
from alerting.policy import Policy
from alerting.rehearsal import Rehearsal, Said, Word, answer_with
from alerting.rules.case import Case, CaseFile, Expected, Series
from alerting.rules.document import parse_document
from alerting.rules.load import load_rules, read_rules
from alerting.rules.model import Rule
from alerting.rules.ruleset import RuleSet
from alerting.state import Awaiting
from schemas.action import (
    ActionKind,
    ActionMode,
    ActionRequested,
    ActionResult,
    ActionStatus,
)
from schemas.base import SCHEMA_VERSION
from schemas.signal import Signal, SignalName

__all__ = ["Trial", "load_cases", "run_cases"]

_EPOCH_US = 1_700_000_000_000_000


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one test; ``differences`` is empty when all that was expected happened."""

    name: str
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Tell whether all that was expected happened, and nothing else."""
        return not self.differences


def load_cases(path: Path) -> tuple[CaseFile, RuleSet]:
    """Read a file of tests and the rules that it is about.

    Raises:
        RulesError: either cannot be read or is wrong; one line a fault.
    """
    text, source = read_rules(path)
    file = parse_document(text, source, CaseFile, "tests", "test")
    rules = load_rules(path.parent / file.rules if file.rules is not None else None)
    faults = [
        f"{source}: test {case.name!r}: {fault}"
        for case in file.tests
        for fault in _faults(case, rules)
    ]
    if faults:
        raise RulesError("\n".join(faults))
    return file, rules


def run_cases(file: CaseFile, rules: RuleSet) -> tuple[Trial, ...]:
    """Run every test of a file against its rules, through the worker's own steps."""
    return tuple(
        _run(case, rules, case.interval if case.interval is not None else file.interval)
        for case in file.tests
    )


def _faults(case: Case, rules: RuleSet) -> list[str]:
    names = {*(s.rule for s in case.series), *(e.rule for e in case.expect)}
    known = ", ".join(sorted(rules.by_name))
    faults = [f"no rule {n!r}; there are {known}" for n in sorted(names - rules.by_name.keys())]
    for series in case.series:
        rule = rules.by_name.get(series.rule)
        if rule is not None and series.labels.keys() != set(rule.by):
            faults.append(
                f"series of {rule.name!r}: expected the labels {', '.join(rule.by) or '(none)'}, "
                f"got {', '.join(sorted(series.labels)) or '(none)'}"
            )
    steps = {step.name for rule in rules.rules for step in rule.ladder if step.act is not None}
    acting = ", ".join(sorted(steps))
    strange = sorted(case.answers.keys() - steps)
    faults += [f"answers: no step {n!r} acts; there are {acting}" for n in strange]
    asking = {
        step.name
        for rule in rules.rules
        for step in rule.ladder
        if step.approval is ActionMode.REQUIRED
    }
    known = ", ".join(sorted(asking)) or "none"
    strange = sorted(case.approvals.keys() - asking)
    return faults + [f"approvals: no step {n!r} needs approval; there is {known}" for n in strange]


def _run(case: Case, rules: RuleSet, interval_s: float) -> Trial:
    def answer(request: ActionRequested) -> ActionResult | None:
        status = case.answers.get(request.step, ActionStatus.DRY_RUN)
        if request.kind is ActionKind.UNDO:
            status = ActionStatus.APPLIED
        return answer_with(status)(request)

    def says(awaiting: Awaiting) -> Word | None:
        verdict = case.approvals.get(awaiting.request.step)
        if verdict is None:
            return None
        return Word(verdict.approve, awaiting.since_us + round(verdict.after * 1e6))

    rehearsal = Rehearsal(rules, Policy(), answer, says=says)
    last_s = max((expected.at for expected in case.expect), default=0.0)
    longest = max(len(series.values) for series in case.series)
    for index in range(max(longest, int(last_s // interval_s) + 1)):
        at_us = _EPOCH_US + round(index * interval_s * 1e6)
        for series in case.series:
            if index < len(series.values):
                rehearsal.see(_signal(rules.by_name[series.rule], series, index, at_us))
        rehearsal.see(_lag(case.lag, index, at_us))
    said = [item for item in rehearsal.said if _counts(item)]
    return Trial(case.name, tuple(_compare(case.expect, said)))


def _signal(rule: Rule, series: Series, index: int, at_us: int) -> Signal:
    value = series.values[index]
    samples = _at(series.samples, index)
    return Signal(
        schema_version=SCHEMA_VERSION,
        signal=rule.signal,
        labels=series.labels,
        over_s=rule.over_s,
        window_end_us=at_us,
        value=value,
        samples=0 if value is None or samples is None else int(samples),
        baseline=_at(series.baseline, index),
        detector="test",
        detail={
            name: known
            for name, values in series.detail.items()
            if (known := _at(values, index)) is not None
        },
    )


def _lag(values: Sequence[float | None], index: int, at_us: int) -> Signal:
    return Signal(
        schema_version=SCHEMA_VERSION,
        signal=SignalName.WATERMARK_LAG,
        labels={},
        over_s=0,
        window_end_us=at_us,
        value=_at(values, index),
        samples=1,
        detector="watermark",
    )


def _at(values: Sequence[float | None], index: int) -> float | None:
    """Return the value at an index; the last one goes on."""
    return values[min(index, len(values) - 1)] if values else None


def _counts(said: Said) -> bool:
    transition = said.transition
    return transition.from_phase is not transition.to_phase or transition.step is not None


def _compare(expected: Sequence[Expected], said: Sequence[Said]) -> list[str]:
    differences = []
    for index in range(max(len(expected), len(said))):
        wanted = expected[index] if index < len(expected) else None
        got = said[index] if index < len(said) else None
        if wanted is not None and got is not None and _is(wanted, got):
            continue
        differences.append(
            f"expected {wanted if wanted is not None else 'nothing more'}, "
            f"got {_describe(got) if got is not None else 'nothing more'}"
        )
    return differences


def _is(wanted: Expected, got: Said) -> bool:
    transition, request = got.transition, got.request
    return (
        transition.at_us == _EPOCH_US + round(wanted.at * 1e6)
        and transition.rule == wanted.rule
        and transition.to_phase is wanted.to
        and all(transition.labels.get(k) == v for k, v in wanted.labels.items())
        and wanted.step in (None, transition.step)
        and wanted.act in (None, request.kind if request is not None else None)
    )


def _describe(got: Said) -> str:
    transition = got.transition
    text = str(
        Expected.model_construct(
            at=(transition.at_us - _EPOCH_US) / 1e6,
            rule=transition.rule,
            to=transition.to_phase,
            labels=transition.labels,
            step=transition.step,
            act=got.request.kind if got.request is not None else None,
        )
    )
    return f"{text} ({transition.reason})"
