"""Who steps on what, what silence means, and how rules are taken over."""

from __future__ import annotations

from typing import Any

from alerting.evaluator import Evaluator
from alerting.machine import withdraw
from alerting.rules import Rule, RuleSet
from alerting.state import AlertState
from schemas.signal import Signal, SignalName
from tests.unit.alerting.drive import EPOCH_US, LABELS, Drive, rule_of

S = 1_000_000
ABSENT: dict[str, Any] = {
    "name": "gone", "kind": "absence", "signal": "request_count", "condition": "< 1",
    "min_samples": 0, "ladder": [], "summary": "gone",
}  # fmt: skip


def lag(at_s: int, seconds: float = 0.0) -> Signal:
    return Signal(
        schema_version=1, signal=SignalName.WATERMARK_LAG, labels={}, over_s=0,
        window_end_us=EPOCH_US + at_s * S, value=seconds, samples=1, detector="watermark",
    )  # fmt: skip


def evaluator_of(*rules: Rule) -> Evaluator:
    return Evaluator(RuleSet(version=1, rules=rules), max_lag_s=60)


def end(evaluator: Evaluator, at_s: int, *live: AlertState) -> list[tuple[str, Signal]]:
    return [(rule.name, signal) for rule, signal in evaluator.due(lag(at_s), lambda: live)]


def fired(rule: Rule) -> Drive:
    drive = Drive(rule)
    drive.see(0, 0.5)
    assert drive.phase == "firing"
    return drive


def test_a_signal_goes_to_the_rules_that_asked_for_it() -> None:
    rule, other = rule_of(), rule_of(name="other", over="2m", ladder=[])
    signal = Drive(rule).signal(0, 0.5)
    due = list(evaluator_of(rule, other).due(signal, list))
    assert due == [(rule, signal)]


def test_an_open_alert_that_was_not_heard_is_given_an_unknown_value() -> None:
    rule = rule_of()
    drive, evaluator = fired(rule), evaluator_of(rule)
    ((name, missing),) = end(evaluator, 10, drive.state)
    assert (name, missing.value, missing.samples, missing.labels) == (rule.name, None, 0, LABELS)
    evaluator.heard.add(drive.state.fingerprint)
    assert end(evaluator, 20, drive.state) == []
    assert len(end(evaluator, 30, drive.state)) == 1  # each evaluation anew


def test_an_expected_series_is_missed_only_after_a_whole_lookback() -> None:
    rule = rule_of(**ABSENT, by=["model"], scope=["model=llama"])
    evaluator = evaluator_of(rule)
    said = [end(evaluator, at_s)[0][1].value for at_s in range(0, 80, 10)]
    assert said == [None] * 6 + [0.0, 0.0]


def test_an_absent_series_stays_absent_when_even_its_nought_is_gone() -> None:
    rule = rule_of(**ABSENT, by=["model"])
    drive, evaluator = Drive(rule), evaluator_of(rule)
    drive.see(0, 0.0, samples=0)
    assert drive.phase == "firing"
    end(evaluator, 0)
    ((_, missing),) = end(evaluator, 60, drive.state)
    assert missing.value == 0.0


def test_lag_holds_from_the_end_of_the_evaluation_that_told_of_it() -> None:
    evaluator = evaluator_of(rule_of())
    list(evaluator.due(lag(0, 61.0), list))
    assert evaluator.lagging
    list(evaluator.due(lag(10, 1.0), list))
    assert not evaluator.lagging


def test_rules_are_taken_over_when_asked_and_alerts_without_a_rule_are_withdrawn() -> None:
    rule, kept = rule_of(), rule_of(name="kept")
    drive, stays = fired(rule), fired(kept)
    evaluator = evaluator_of(rule, kept)
    live = [drive.state, stays.state]
    assert evaluator.take_over(lambda: live) is None
    evaluator.adopt(RuleSet(version=1, rules=(kept,)))
    assert evaluator.rules.by_name.keys() == {rule.name, "kept"}
    (gone,) = evaluator.take_over(lambda: live) or []
    assert (gone.rule, gone.state) == (rule, drive.state)
    assert evaluator.rules.by_name.keys() == {"kept"}
    assert evaluator.take_over(lambda: live) is None


def test_a_rule_that_no_longer_speaks_of_a_series_withdraws_its_alert() -> None:
    drive = fired(rule_of())
    evaluator = evaluator_of(rule_of())
    evaluator.adopt(RuleSet(version=1, rules=(rule_of(scope=["model!=llama"]),)))
    assert len(evaluator.take_over(lambda: [drive.state]) or []) == 1


def test_a_withdrawn_alert_is_resolved_and_a_pending_one_forgotten() -> None:
    drive = fired(rule_of())
    state, effects = withdraw(drive.rule, drive.state, EPOCH_US + 10 * S, "gone")
    assert state.phase == "resolved"
    assert [type(effect).__name__ for effect in effects] == ["Transitioned", "Notify"]
    pending = Drive(rule_of(**{"for": "1m"}))
    pending.see(0, 0.5)
    state, effects = withdraw(pending.rule, pending.state, EPOCH_US + 10 * S, "gone")
    assert state.phase == "inactive"
    assert [type(effect).__name__ for effect in effects] == ["Transitioned"]
