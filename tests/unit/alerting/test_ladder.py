"""Steps: when they are taken, how often, and what policy makes of them."""

from __future__ import annotations

from alerting.policy import Policy
from alerting.state import Outcome
from schemas.action import ActionKind, ActionStatus
from schemas.alert import Severity
from tests.unit.alerting.drive import EPOCH_US, Drive, rule_of


def kinds(drive: Drive) -> list[str]:
    return [act.kind.value for act in drive.acts]


def test_no_step_before_its_dwell() -> None:
    drive = Drive(rule_of())
    drive.run(0, 60, 0.5)
    assert drive.acts == []
    drive.see(60, 0.5)
    assert kinds(drive) == ["rollback"]
    assert drive.phase == "escalated"


def test_a_request_carries_its_evidence_and_follows_from_incident_and_step() -> None:
    drive = Drive(rule_of())
    drive.run(0, 61, 0.5, samples=400)
    (act,) = drive.acts
    assert act.action_id == f"{drive.state.incident_id}:rollback"
    assert act.evidence == {"value": 0.5, "samples": 400.0, "threshold": 0.01}
    assert act.verify_within_s == 300
    assert act.requested_at_us == EPOCH_US + 60_000_000
    assert act.labels == drive.labels
    assert not act.dry_run


def test_a_condition_that_does_not_hold_passes_the_step_over_until_it_does() -> None:
    drive = Drive(rule_of())
    drive.run(0, 120, 0.03)
    assert drive.acts == []
    drive.see(120, 0.06)
    assert kinds(drive) == ["rollback"]


def test_a_condition_on_an_unknown_detail_does_not_hold() -> None:
    ladder = [{"name": "limit", "after": "0s", "when": "detail.traffic_ratio < 1.5",
               "act": "rate_limit", "verify_within": "5m"}]  # fmt: skip
    drive = Drive(rule_of(signal="cost_rate", kind="baseline", condition="> 2x", ladder=ladder))
    drive.run(0, 100, 2.5)
    drive.run(100, 200, 2.5, traffic_ratio=1.6)
    assert drive.acts == []
    drive.see(200, 2.5, traffic_ratio=1.1)
    assert kinds(drive) == ["rate_limit"]
    assert drive.acts[0].evidence["traffic_ratio"] == 1.1


def test_a_step_is_taken_once_an_episode_and_again_in_the_next() -> None:
    drive = Drive(rule_of(), Policy(cooldown_s=0, actions_per_hour=100))
    drive.run(0, 100, 0.5)
    drive.answer(ActionStatus.REFUSED)
    drive.run(100, 150, 0.5)
    assert kinds(drive) == ["rollback"]
    drive.see(150, 0.001)
    drive.run(160, 300, 0.5)
    assert kinds(drive) == ["rollback", "rollback"]
    assert len({act.action_id for act in drive.acts}) == 2


def test_no_action_below_the_step_s_own_minimum_of_samples() -> None:
    ladder = [{"name": "rollback", "after": "0s", "act": "rollback", "verify_within": "5m",
               "min_samples": 500}]  # fmt: skip
    drive = Drive(rule_of(ladder=ladder))
    drive.run(0, 600, 0.9, samples=499)
    assert drive.phase == "firing"
    assert drive.acts == []
    drive.see(600, 0.9, samples=500)
    assert kinds(drive) == ["rollback"]


def test_no_escalation_while_the_value_is_good() -> None:
    drive = Drive(rule_of(keep_firing_for="10m"))
    drive.see(0, 0.5)
    drive.run(10, 200, 0.001)
    assert drive.acts == []
    drive.see(200, 0.5)  # bad again within keep_firing_for: the dwell has gone on
    assert kinds(drive) == ["rollback"]


def test_one_action_at_a_time_while_people_are_still_told() -> None:
    ladder = [
        {"name": "rollback", "after": "0s", "act": "rollback", "verify_within": "5m"},
        {"name": "call", "after": "30s", "notify": "Call the vendor."},
        {"name": "fallback", "after": "40s", "act": "fallback", "verify_within": "5m"},
    ]
    drive = Drive(rule_of(ladder=ladder))
    drive.run(0, 100, 0.5)
    assert kinds(drive) == ["rollback"]
    assert drive.state.record_of("call") is not None
    assert drive.state.record_of("fallback") is None
    drive.answer(ActionStatus.FAILED)
    drive.see(100, 0.5)
    assert kinds(drive) == ["rollback", "fallback"]


def test_a_refused_action_lets_the_ladder_go_on_without_another_dwell() -> None:
    drive = Drive(rule_of())
    drive.run(0, 200, 0.5)
    effects = drive.answer(ActionStatus.REFUSED)
    assert effects
    assert "refused" in drive.intents[-1].news[0]
    drive.see(200, 0.5)
    assert kinds(drive) == ["rollback", "fallback"]


def test_a_refused_action_does_not_bring_the_next_step_before_its_own_dwell() -> None:
    drive = Drive(rule_of())
    drive.run(0, 70, 0.5)
    drive.answer(ActionStatus.REFUSED)
    drive.run(70, 180, 0.5)
    assert kinds(drive) == ["rollback"]
    drive.see(180, 0.5)
    assert kinds(drive) == ["rollback", "fallback"]


def test_a_failed_action_is_loud() -> None:
    drive = Drive(rule_of())
    drive.run(0, 70, 0.5)
    drive.answer(ActionStatus.FAILED)
    assert drive.intents[-1].loud
    assert drive.state.record_of("rollback").outcome is Outcome.FAILED  # type: ignore[union-attr]


def test_steps_raise_the_severity_and_never_lower_it() -> None:
    ladder = [
        {"name": "loud", "after": "10s", "notify": "Hurry.", "severity": "critical"},
        {"name": "soft", "after": "20s", "notify": "Well.", "severity": "info"},
    ]
    drive = Drive(rule_of(ladder=ladder))
    drive.see(0, 0.5)
    assert drive.intents[-1].severity is Severity.ERROR
    drive.run(10, 40, 0.5)
    assert [intent.severity for intent in drive.intents[1:]] == [Severity.CRITICAL] * 2


def test_a_later_step_that_tells_escalates() -> None:
    drive = Drive(rule_of(ladder=[{"name": "call", "after": "30s", "notify": "Call."}]))
    drive.run(0, 40, 0.5)
    assert drive.phase == "escalated"
    assert drive.intents[-1].loud
    assert drive.intents[-1].advice == "Call."


def test_policy_refuses_within_the_cooldown_and_tells_people() -> None:
    drive = Drive(rule_of(), Policy(cooldown_s=600))
    drive.run(0, 70, 0.5)
    drive.answer(ActionStatus.REFUSED)
    drive.see(70, 0.001)
    drive.run(80, 150, 0.5)
    assert kinds(drive) == ["rollback"]
    assert "refused by policy: cooldown" in drive.intents[-1].news[0]
    assert drive.intents[-1].loud
    drive.run(150, 300, 0.5)  # the ladder goes on: another kind of action is another target
    assert kinds(drive) == ["rollback", "fallback"]


def test_the_kill_switch_bars_every_action() -> None:
    drive = Drive(rule_of(), Policy(frozen=True))
    drive.run(0, 600, 0.5)
    assert drive.acts == []
    barred = [record.step for record in drive.state.taken if record.outcome is Outcome.BARRED]
    assert barred == ["rollback", "fallback"]


def test_a_dry_run_asks_for_everything_and_waits_for_nothing_to_recover() -> None:
    drive = Drive(rule_of(), Policy(dry_run=True))
    drive.run(0, 70, 0.5)
    assert [(act.kind, act.dry_run) for act in drive.acts] == [(ActionKind.ROLLBACK, True)]
    drive.answer(ActionStatus.DRY_RUN)
    assert drive.phase == "escalated"
    assert drive.state.verifying is None
    drive.run(70, 200, 0.5)
    assert kinds(drive) == ["rollback", "fallback"]
    assert drive.verdicts == []


def test_an_executor_that_never_answers_bars_further_actions_and_people_are_told_once() -> None:
    drive = Drive(rule_of())
    drive.run(0, 3_000, 0.5)
    assert kinds(drive) == ["rollback"]
    told = [intent for intent in drive.intents if "no answer" in " ".join(intent.news)]
    assert len(told) == 1
    assert told[0].loud
    drive.answer(ActionStatus.REFUSED)
    drive.see(3_000, 0.5)
    assert kinds(drive) == ["rollback", "fallback"]


def test_a_request_of_an_earlier_episode_still_bars_actions() -> None:
    drive = Drive(rule_of(), Policy(cooldown_s=0))
    drive.run(0, 70, 0.5)
    first = drive.acts[0].action_id
    drive.see(70, 0.001)
    assert drive.phase == "resolved"
    assert not drive.state.idle
    drive.run(80, 400, 0.5)
    assert kinds(drive) == ["rollback"]
    drive.answer(ActionStatus.FAILED, action_id=first)
    drive.see(400, 0.5)
    assert kinds(drive) == ["rollback", "rollback"]
