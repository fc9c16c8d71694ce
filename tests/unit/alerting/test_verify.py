"""After an action: proven, undone, unproven, or the series gone."""

from __future__ import annotations

from alerting.intent import NotifyEvent
from alerting.policy import Policy
from alerting.state import Outcome
from schemas.action import ActionKind, ActionStatus
from schemas.alert import AlertPhase
from tests.unit.alerting.drive import Drive, rule_of


def applied(**changes: object) -> Drive:
    """Return an alert whose rollback was applied at second 60; ``over`` is a minute."""
    drive = Drive(rule_of(**changes))
    drive.run(0, 70, 0.5)
    drive.answer(at=60)
    assert drive.phase == "verifying"
    return drive


def outcome(drive: Drive, step: str) -> Outcome | None:
    record = drive.state.record_of(step)
    return record.outcome if record is not None else None


def test_a_value_that_still_holds_older_samples_proves_nothing() -> None:
    drive = applied()
    drive.run(70, 120, 0.001)
    assert drive.verdicts == []
    assert drive.phase == "verifying"
    drive.see(120, 0.001)
    (verdict,) = drive.verdicts
    assert verdict.recovered
    assert verdict.action_id == drive.acts[0].action_id
    assert verdict.value == 0.001
    assert drive.phase == "resolved"
    assert outcome(drive, "rollback") is Outcome.RECOVERED


def test_old_bad_samples_in_the_lookback_do_not_undo_a_good_action() -> None:
    drive = applied()
    drive.run(70, 120, 0.4)
    drive.see(120, 0.001)
    assert [act.kind for act in drive.acts] == [ActionKind.ROLLBACK]
    assert drive.verdicts[0].recovered


def test_a_proven_action_resolves_only_after_keep_firing_for() -> None:
    drive = applied(keep_firing_for="1m")
    drive.run(70, 110, 0.5)
    drive.run(110, 170, 0.001)
    assert len(drive.verdicts) == 1
    assert drive.phase == "verifying"
    drive.see(170, 0.001)
    assert drive.phase == "resolved"
    assert drive.intents[-1].event is NotifyEvent.RESOLVE


def test_an_action_that_does_not_help_is_undone_and_people_are_paged() -> None:
    drive = applied()
    drive.run(70, 360, 0.5)
    assert drive.verdicts == []
    drive.see(360, 0.5)
    (verdict,) = drive.verdicts
    assert not verdict.recovered
    rollback, undo = drive.acts
    assert undo.kind is ActionKind.UNDO
    assert undo.undoes == rollback.action_id
    assert undo.action_id == f"{rollback.action_id}:undo"
    assert undo.step == "rollback"
    assert drive.intents[-1].loud
    assert drive.phase == "escalated"


def test_the_ladder_goes_on_once_the_undo_is_answered() -> None:
    drive = applied()
    drive.run(70, 400, 0.5)
    assert [act.kind.value for act in drive.acts] == ["rollback", "undo"]
    drive.answer(at=390)
    assert outcome(drive, "rollback") is Outcome.UNDONE
    drive.see(400, 0.5)
    assert [act.kind.value for act in drive.acts] == ["rollback", "undo", "fallback"]
    drive.answer(at=400)
    drive.run(410, 460, 0.5)
    drive.see(460, 0.002)
    assert [verdict.recovered for verdict in drive.verdicts] == [False, True]
    assert drive.phase == "resolved"


def test_an_undo_that_fails_is_loud_and_the_ladder_goes_on() -> None:
    drive = applied()
    drive.run(70, 400, 0.5)
    drive.answer(ActionStatus.FAILED, at=390)
    assert drive.intents[-1].loud
    assert "stays in force" in drive.intents[-1].news[0]
    drive.see(400, 0.5)
    assert [act.kind.value for act in drive.acts][-1] == "fallback"


def test_the_kill_switch_bars_an_undo_too() -> None:
    drive = applied()
    drive.policy = drive.policy.model_copy(update={"frozen": True})
    drive.run(70, 400, 0.5)
    assert [act.kind.value for act in drive.acts] == ["rollback"]
    assert any("undo refused by policy" in intent.news[0] for intent in drive.intents)


def test_cooldown_and_cap_do_not_bar_an_undo() -> None:
    drive = applied()
    drive.policy = drive.policy.model_copy(update={"actions_per_hour": 1})
    drive.run(70, 400, 0.5)
    assert [act.kind.value for act in drive.acts] == ["rollback", "undo"]


def test_without_data_nothing_is_undone_and_people_are_paged() -> None:
    drive = applied()
    drive.run(70, 500, 0.5, samples=10)  # a trickle: too few to tell
    (verdict,) = drive.verdicts
    assert not verdict.recovered
    assert verdict.value is None
    assert "could not be told" in verdict.reason
    assert [act.kind.value for act in drive.acts] == ["rollback"]
    assert outcome(drive, "rollback") is Outcome.UNVERIFIED
    assert drive.intents[-1].loud
    assert drive.phase == "escalated"


def test_bad_again_after_a_proven_recovery_goes_on_up_the_ladder() -> None:
    drive = applied(keep_firing_for="5m")
    drive.run(70, 150, 0.001)
    assert drive.verdicts[0].recovered
    drive.run(150, 200, 0.5)
    assert drive.phase == "escalated"
    assert [act.kind.value for act in drive.acts] == ["rollback", "fallback"]
    assert outcome(drive, "rollback") is Outcome.RECOVERED


def test_a_series_that_ends_after_a_rollback_counts_as_removed() -> None:
    drive = applied(keep_firing_for="2m")
    drive.run(70, 130, 0.5)  # the lookback empties: the last bad request was at second 70
    drive.run(130, 190, None)
    assert drive.phase == "verifying"
    drive.see(190, None)
    assert drive.phase == "resolved"
    (verdict,) = drive.verdicts
    assert verdict.recovered
    assert "removal" in verdict.reason
    assert "removal" in drive.intents[-1].news[-1]
    assert [act.kind.value for act in drive.acts] == ["rollback"]


def test_stragglers_put_the_removal_off() -> None:
    drive = applied(keep_firing_for="2m")
    drive.run(70, 130, 0.5)
    drive.run(130, 160, 1.0, samples=1)
    drive.run(160, 210, None)
    drive.see(210, None, samples=1)
    drive.run(220, 280, None)  # nothing in the minute before 220: quiet since 160
    assert drive.phase == "verifying"
    drive.see(280, None)
    assert drive.phase == "resolved"


def test_the_removal_under_way_outlasts_verify_within() -> None:
    drive = applied(keep_firing_for="10m")
    drive.run(70, 130, 0.5)
    drive.run(130, 660, None)
    assert drive.phase == "verifying"
    assert drive.verdicts == []
    drive.run(660, 700, None)
    assert drive.phase == "resolved"


def test_data_that_vanish_without_an_action_stay_unknown_for_ever() -> None:
    drive = Drive(rule_of(ladder=[]))
    drive.see(0, 0.5)
    drive.run(10, 20_000, None, every=100)
    assert drive.phase == "firing"


def test_a_rollback_that_was_only_asked_for_does_not_count_as_removal() -> None:
    drive = Drive(rule_of())
    drive.run(0, 70, 0.5)
    drive.run(70, 4_000, None, every=60)
    assert drive.phase == "escalated"
    assert drive.verdicts == []


def test_a_scale_up_does_not_end_a_series() -> None:
    ladder = [{"name": "scale-up", "after": "1m", "act": "scale_up", "verify_within": "5m"}]
    drive = applied(ladder=ladder)
    drive.run(70, 4_000, None, every=60)
    assert drive.phase == "escalated"
    assert outcome(drive, "scale-up") is Outcome.UNVERIFIED


def test_an_answer_after_the_alert_resolved_is_told_and_judged() -> None:
    drive = Drive(rule_of())
    drive.run(0, 70, 0.5)
    drive.see(70, 0.001)
    drive.answer(at=75)
    assert drive.phase == "resolved"
    assert drive.verdicts[0].recovered
    assert drive.intents[-1].event is NotifyEvent.RESOLVE
    assert drive.intents[-1].revision == 4
    assert drive.state.idle


def test_a_repeated_answer_changes_nothing() -> None:
    drive = applied()
    action_id = drive.acts[0].action_id
    for status in ActionStatus:
        assert drive.answer(status, action_id=action_id) == ()
    assert drive.phase == "verifying"


def test_a_neighbour_s_rollback_ends_the_series_of_other_rules() -> None:
    acting = applied()
    slow = Drive(rule_of(name="ttft-slow", signal="ttft_p95", condition="> 1", ladder=[],
                         keep_firing_for="2m", by=["model", "model_version"]))  # fmt: skip
    slow.run(0, 70, 3.0)
    slow.neighbour(acting.acts[0], ActionStatus.REFUSED)
    assert slow.state.relieved_us is None
    assert slow.neighbour(acting.acts[0], ActionStatus.APPLIED) != ()
    assert slow.neighbour(acting.acts[0], ActionStatus.APPLIED) == ()  # it is told once
    slow.run(70, 130, 3.0)
    slow.run(130, 400, None)
    assert slow.phase == "resolved"
    assert "removal" in slow.transitions[-1].reason
    assert slow.verdicts == []


def test_a_neighbour_of_another_version_changes_nothing() -> None:
    acting = applied()
    request = acting.acts[0]
    other = Drive(rule_of(name="other", ladder=[], by=["model", "model_version"]))
    other.see(0, 0.5)
    for labels in ({**request.labels, "model_version": "v1"}, {"model": "llama"}):
        changed = request.model_copy(update={"labels": labels})
        assert other.neighbour(changed, ActionStatus.APPLIED) == ()


def test_a_neighbour_s_undo_brings_the_traffic_back() -> None:
    acting = applied()
    request = acting.acts[0]
    slow = Drive(rule_of(name="ttft-slow", ladder=[], by=["model", "model_version"]))
    slow.see(0, 0.5)
    slow.neighbour(request, ActionStatus.APPLIED)
    undo = request.model_copy(update={"kind": ActionKind.UNDO, "action_id": "u"})
    slow.neighbour(undo, ActionStatus.APPLIED)
    slow.run(10, 4_000, None, every=60)
    assert slow.phase == "firing"


def test_verification_survives_the_step_s_removal_from_the_rules() -> None:
    drive = applied()
    drive.rule = rule_of(ladder=[])
    drive.run(70, 400, 0.5)
    assert [act.kind.value for act in drive.acts] == ["rollback", "undo"]


def test_no_transition_starts_an_episode_at_its_end() -> None:
    drive = applied()
    drive.run(70, 500, 0.001)
    phases = [transition.to_phase for transition in drive.transitions]
    assert phases.count(AlertPhase.RESOLVED) == 1
    assert phases.index(AlertPhase.FIRING) < phases.index(AlertPhase.RESOLVED)


def test_policies_are_values_that_go_through_json() -> None:
    drive = applied()
    assert Policy.model_validate_json(drive.policy.to_json()) == drive.policy
    assert len(drive.policy.recent) == 1
