"""Actions that wait for somebody's yes."""

from __future__ import annotations

from typing import Any

import pytest

from alerting.errors import RulesError
from alerting.intent import NotificationIntent
from alerting.policy import Policy
from alerting.state import Outcome
from schemas.action import ActionDecision, ActionMode, ActionStatus, proposal_of
from schemas.command import CommandVia
from tests.unit.alerting.drive import EPOCH_US, Drive, rule_of

US = 1_000_000


def ladder(**changes: Any) -> list[dict[str, Any]]:
    rollback = {
        "name": "rollback",
        "after": "1m",
        "when": "> 5%",
        "act": "rollback",
        "verify_within": "5m",
        "approval": "required",
        "approve_within": "10m",
        **changes,
    }
    fallback = {"name": "fallback", "after": "3m", "act": "fallback", "verify_within": "5m"}
    return [rollback, fallback]


def waiting(policy: Policy | None = None, *, bad: float = 0.5, **changes: Any) -> Drive:
    """Return an alert whose rollback was planned at 61 s and waits for approval since."""
    drive = Drive(rule_of(ladder=ladder(**changes)), policy)
    drive.run(0, 70, bad)
    drive.answer(ActionStatus.PLANNED, at=61)
    return drive


def outcome(drive: Drive, step: str = "rollback") -> Outcome | None:
    record = drive.state.record_of(step)
    return record.outcome if record is not None else None


def test_the_executor_is_asked_for_a_plan_before_people_are() -> None:
    drive = Drive(rule_of(ladder=ladder()))
    drive.run(0, 70, 0.5)
    (plan,) = drive.acts
    assert plan.plans == f"{drive.state.incident_id}:rollback"
    assert plan.action_id == f"{plan.plans}:plan"
    assert plan.mode is ActionMode.REQUIRED
    assert drive.proposed == []
    assert outcome(drive) is Outcome.PLANNING
    assert drive.policy.recent == ()


def test_a_proposal_says_what_how_it_is_undone_who_may_decide_and_until_when() -> None:
    drive = waiting(approvers=["ann", "bob"])
    (proposed,) = drive.proposed
    assert proposed.expires_us == EPOCH_US + 661 * US
    assert (proposed.does, proposed.before, proposed.after) == (
        "test planned", {"variant": "v2"}, {"variant": "v1"},
    )  # fmt: skip
    assert proposed.evidence["value"] == 0.5
    page = drive.intents[-1]
    assert page.loud
    assert page.approval is not None
    assert page.approval.does == "test planned"
    assert page.approval.inverse == "flag=ai.model.version, variant=v2"
    assert page.approval.approvers == ("ann", "bob")
    assert page.approval.expires_us == proposed.expires_us
    assert page.approval.proposal == proposed.proposal
    assert "waits for approval until 22:24:21 UTC" in page.news[0]
    assert page.plan[0].at_us == proposed.expires_us
    assert page.plan[0].text.endswith("22:24:21 UTC; without one a human is paged")
    assert NotificationIntent.model_validate_json(page.to_json()) == page


def test_a_proposal_made_again_after_a_crash_is_the_same_one() -> None:
    """Other signals may have come first: what people were shown has to count all the same."""
    names = []
    for until in (70, 100):
        drive = Drive(rule_of(ladder=ladder()))
        drive.run(0, until, 0.5)
        drive.answer(ActionStatus.PLANNED, at=61)
        names.append(drive.proposed[-1].proposal)
    assert names[0] == names[1]


def test_what_cannot_be_planned_bothers_nobody_and_the_ladder_goes_on() -> None:
    drive = Drive(rule_of(ladder=ladder()))
    drive.run(0, 70, 0.5)
    drive.answer(ActionStatus.REFUSED, at=61)
    assert drive.proposed == []
    assert outcome(drive) is Outcome.REFUSED
    drive.run(70, 190, 0.5)
    assert [request.kind for request in drive.acts[1:]] == ["fallback"]


def test_an_approval_lets_exactly_that_action_out_once() -> None:
    drive = waiting()
    drive.decide(90)
    _, request = drive.acts
    proposed = drive.proposed[-1]
    assert (request.action_id, request.plans) == (proposed.action_id, None)
    assert request.requested_at_us == EPOCH_US + 90 * US
    granted = request.granted
    assert granted is not None
    assert (granted.by, granted.command_id, granted.proposal) == ("ann", "c-90", proposed.proposal)
    assert proposed.proposal == proposal_of(
        request, granted.does, granted.inverse, granted.approvers, granted.expires_us
    )
    assert drive.decisions[-1].status is ActionDecision.APPROVED
    assert drive.intents[-1].approval is None
    assert "approved by ann: looks right" in drive.intents[-1].news[0]
    assert [past.action_id for past in drive.policy.recent] == [request.action_id]
    drive.answer(at=91)
    assert drive.phase == "verifying"
    for again in ("c-90", "c-95"):
        drive.decide(95, command_id=again)
    assert len(drive.acts) == 2


def test_the_same_command_again_says_nothing_and_another_says_why_it_does_nothing() -> None:
    drive = waiting()
    drive.decide(90)
    assert drive.decide(90) == ()
    drive.decide(95, by="bob", approve=False)
    last = drive.decisions[-1]
    assert (last.status, last.by) == (ActionDecision.IGNORED, "bob")
    assert last.reason == "it was decided already: requested by ann: looks right"
    assert "rejection by bob did nothing" in drive.intents[-1].news[0]
    assert "rejection by bob did nothing" in drive.transitions[-1].reason


def test_a_rejection_skips_the_step_and_says_who() -> None:
    drive = waiting()
    drive.decide(90, approve=False, reason="the load test does it")
    assert outcome(drive) is Outcome.REJECTED
    assert drive.decisions[-1].status is ActionDecision.REJECTED
    assert "rejected by ann: the load test does it" in drive.intents[-1].news[0]
    drive.run(70, 190, 0.5)
    assert [request.kind for request in drive.acts[1:]] == ["fallback"]
    drive.answer()
    drive.decide(200)
    assert drive.decisions[-1].reason == "it was rejected already by ann: the load test does it"
    assert len(drive.acts) == 2


def test_nothing_else_acts_while_an_action_waits_for_approval() -> None:
    drive = waiting()
    drive.run(70, 660, 0.5)
    assert len(drive.acts) == 1


def test_expiry_pages_a_human_and_leaves_the_rest_to_people() -> None:
    drive = waiting()
    drive.run(70, 670, 0.5)
    assert outcome(drive) is Outcome.AWAITING
    drive.see(670, 0.5)
    assert outcome(drive) is Outcome.EXPIRED
    page = drive.intents[-1]
    assert page.loud
    assert page.approval is None
    assert "nobody decided within 10m" in page.news[0]
    assert "a human has to act" in page.news[0]
    assert page.plan == ()
    drive.run(680, 1_500, 0.5)
    assert len(drive.acts) == 1
    assert drive.decisions[-1].status is ActionDecision.EXPIRED
    drive.decide(1_500)
    assert "expired" in drive.decisions[-1].reason
    assert len(drive.acts) == 1


def test_expiry_goes_to_the_next_step_if_the_rule_says_so() -> None:
    drive = waiting(if_expired="next")
    assert drive.intents[-1].plan[0].text.endswith("without one the ladder goes on")
    drive.run(70, 680, 0.5)
    assert outcome(drive) is Outcome.EXPIRED
    assert [request.kind for request in drive.acts[1:]] == ["fallback"]


@pytest.mark.parametrize("value", [None, 0.0, 0.5])
@pytest.mark.parametrize("lagging", [False, True])
def test_it_expires_whatever_the_data_are(value: float | None, lagging: bool) -> None:
    drive = waiting(after="1m")
    drive.rule = drive.rule.model_copy(update={"keep_firing_for_s": 3_600})
    drive.run(70, 660, value)
    drive.policy = drive.policy.hold(lagging)
    drive.see(670, value)
    assert outcome(drive) is Outcome.EXPIRED


def test_a_word_given_in_time_counts_though_signals_are_late() -> None:
    drive = waiting()
    drive.run(70, 120, 0.5)
    drive.decide(660)
    assert drive.decisions[-1].status is ActionDecision.APPROVED


def test_a_word_given_too_late_does_nothing_though_signals_are_late() -> None:
    drive = waiting()
    drive.run(70, 120, 0.5)
    drive.decide(661)
    last = drive.decisions[-1]
    assert last.status is ActionDecision.IGNORED
    assert last.reason == "the proposal has expired at 22:24:21 UTC"
    assert len(drive.acts) == 1


def test_a_decision_on_another_revision_does_nothing_and_says_so() -> None:
    drive = waiting()
    drive.decide(90, proposal="0" * 32)
    assert drive.decisions[-1].reason == "it was made on another revision of the proposal"
    assert len(drive.acts) == 1
    drive.decide(95)
    assert len(drive.acts) == 2


def test_a_resolved_incident_takes_its_proposal_back() -> None:
    drive = waiting()
    old = drive.decision(90)
    drive.see(80, 0.0)
    assert drive.phase == "resolved"
    assert drive.decisions[-1].status is ActionDecision.VOID
    drive.decide(90, command_id="late")
    assert drive.decisions[-1].reason == "the incident is over"
    drive.run(200, 210, 0.5)
    drive.decide(210, **old.model_dump(include={"subject", "proposal", "command_id"}))
    assert drive.decisions[-1].reason == "its incident is over"
    assert len(drive.acts) == 1


def test_a_plan_that_comes_after_the_end_proposes_nothing() -> None:
    drive = Drive(rule_of(ladder=ladder()))
    drive.run(0, 70, 0.5)
    drive.see(70, 0.0)
    drive.answer(ActionStatus.PLANNED, at=75)
    assert drive.proposed == []
    assert drive.state.idle


@pytest.mark.parametrize(
    ("by", "via", "counts"),
    [
        ("ann", CommandVia.API, True),
        ("eve", CommandVia.API, False),
        ("eve (U1)", CommandVia.SLACK, True),
        ("ann (U2)", CommandVia.SLACK, False),  # names are chosen freely, ids are not
        ("x (U1) (U2)", CommandVia.SLACK, False),
    ],
)
def test_only_approvers_decide_where_the_rule_names_some(
    by: str, via: CommandVia, counts: bool
) -> None:
    drive = waiting(approvers=["ann", "U1"])
    drive.decide(90, by=by, via=via)
    assert (len(drive.acts) == 2) is counts
    if not counts:
        assert drive.decisions[-1].reason == "ann, U1 may decide"
        assert drive.state.awaiting is not None


def test_guards_hold_at_the_moment_of_approval_and_the_proposal_goes_on_waiting() -> None:
    drive = waiting()
    for guard, said in (
        (drive.policy.freeze(True, "bob: audit"), "frozen by bob: audit"),
        (drive.policy.bar("silenced by bob"), "silenced by bob"),
        (drive.policy.hold(True), "numbers are late"),
        (drive.policy.model_copy(update={"actions_per_hour": 0}), "cap: 0"),
    ):
        before, drive.policy = drive.policy, guard
        drive.decide(90 + len(drive.decisions))
        assert said in drive.decisions[-1].reason
        assert drive.decisions[-1].reason.endswith("it waits for approval still")
        drive.policy = before
    drive.see(100, None)
    drive.decide(101)
    assert "missing data" in drive.decisions[-1].reason
    drive.see(110, 0.5, samples=120)
    drive.rule = rule_of(ladder=ladder(min_samples=200))
    drive.decide(111)
    assert "too few samples (120 of 200)" in drive.decisions[-1].reason
    drive.see(115, 0.03)
    drive.decide(116)
    assert "the step wants > 0.05, which does not hold now" in drive.decisions[-1].reason
    drive.rule = rule_of(ladder=ladder(), keep_firing_for="1h")
    drive.see(120, 0.0)
    drive.decide(121)
    assert "within the threshold" in drive.decisions[-1].reason
    assert len(drive.acts) == 1
    drive.see(130, 0.5)
    drive.decide(131)
    assert len(drive.acts) == 2


def test_nobody_is_asked_to_approve_what_policy_bars() -> None:
    drive = waiting(Policy(frozen=True))
    assert drive.acts == []
    assert outcome(drive) is Outcome.BARRED


@pytest.mark.parametrize("late", [Outcome.EXPIRED, Outcome.REJECTED])
def test_what_took_effect_though_its_approval_was_forgotten_is_watched(late: Outcome) -> None:
    """A worker died after it had published the approved request and before its state was safe."""
    drive = waiting()
    if late is Outcome.EXPIRED:
        drive.run(70, 680, 0.5)
    else:
        drive.decide(90, approve=False)
    assert outcome(drive) is late
    drive.answer(at=drive.now, action_id=drive.proposed[-1].action_id)
    assert drive.phase == "verifying"
    drive.run(drive.now + 10, drive.now + 400, 0.5)
    assert drive.acts[-1].kind == "undo"


def test_modes_of_settings_are_obeyed_where_they_are_stricter() -> None:
    rule = rule_of()
    assert rule.restrained({}) == rule
    modes = {step.act: ActionMode.REQUIRED for step in rule.ladder if step.act is not None}
    drive = Drive(rule.restrained(modes))
    drive.run(0, 70, 0.5)
    assert drive.acts[0].plans is not None
    dry = dict.fromkeys(modes, ActionMode.DRY_RUN)
    strict = rule_of(ladder=ladder()).restrained(dry).ladder[0]
    assert strict.approval is ActionMode.DRY_RUN
    lax = dict.fromkeys(modes, ActionMode.AUTOMATIC)
    assert rule_of(ladder=ladder()).restrained(lax).ladder[0].approval is ActionMode.REQUIRED


def test_a_step_of_mode_dry_run_asks_for_nothing_more() -> None:
    steps = [{"name": "rollback", "after": "0s", "act": "rollback", "verify_within": "5m",
              "approval": "dry_run"}]  # fmt: skip
    drive = Drive(rule_of(ladder=steps))
    drive.see(0, 0.5)
    (request,) = drive.acts
    assert request.dry_run
    assert "as a dry run" in drive.intents[-1].news[-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"approval": "perhaps"}, "'automatic', 'required' or 'dry_run'"),
        ({"approve_within": "0s"}, "more than 0s, at most 1d"),
        ({"approve_within": "2d"}, "more than 0s, at most 1d"),
        ({"approval": "automatic"}, "'approve_within' belongs to a step with 'approval: required'"),
        ({"if_expired": "shrug"}, "'page' or 'next'"),
        ({"approvers": "ann"}, "valid tuple"),
    ],
)
def test_approvals_that_make_no_sense_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RulesError, match=r"test:\d+: rule 'error-rate': ladder\[1\]") as caught:
        rule_of(ladder=ladder(**changes))
    assert said in str(caught.value)


def test_people_need_no_approval() -> None:
    steps = [{"name": "tell", "after": "0s", "notify": "Look.", "approval": "required"}]
    with pytest.raises(RulesError, match="'approval' belongs to a step that acts"):
        rule_of(ladder=steps)
