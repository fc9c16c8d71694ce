"""Actions that wait for somebody's yes: proposed, then approved, rejected, expired or void. Pure.

A decision counts for exactly the proposal that it names, once, before its expiry, while its
incident is open and while nothing bars the action; else it does nothing and says so. Time is as
everywhere: a proposal expires at the first signal whose window ends at ``expires_us`` or later. A
person's word has the time at which it was given, and counts until then though signals are late.
"""

from __future__ import annotations

from alerting.asking import release
from alerting.bounds import least_samples
from alerting.effects import Decided, Effect
from alerting.identity import fingerprint_in, incident_in
from alerting.policy import Policy
from alerting.rules.duration import format_duration
from alerting.rules.model import Rule
from alerting.rules.step import IfExpired
from alerting.state import AlertState, Awaiting, Outcome, StepRecord
from alerting.text import clock, flat
from alerting.turn import Turn
from schemas.action import (
    ActionDecided,
    ActionDecision,
    ActionProposed,
    ActionRequested,
    ActionResult,
    Granted,
    proposal_of,
)
from schemas.alert import AlertPhase
from schemas.base import SCHEMA_VERSION
from schemas.command import DecideCommand

__all__ = ["expire", "ignored", "on_decision", "open_proposal", "void"]


def open_proposal(
    turn: Turn, record: StepRecord, request: ActionRequested, plan: ActionResult
) -> None:
    """Publish an action whose plan has come as waiting for approval, and ask people."""
    step = turn.rule.step_named(record.step)
    if step is None or not turn.state.open:
        turn.settle(record.step, Outcome.VOID, "its incident or its step was over")
        return
    # By the plan's own time: decided again after a crash, it is the same proposal.
    expires_us = plan.at_us + round(step.approve_within_s * 1e6)
    awaiting = Awaiting(
        proposal=proposal_of(request, plan.reason, plan.inverse, step.approvers, expires_us),
        request=request,
        does=plan.reason,
        inverse=plan.inverse,
        approvers=step.approvers,
        since_us=plan.at_us,
        expires_us=expires_us,
    )
    turn.set(awaiting=awaiting)
    turn.settle(record.step, Outcome.AWAITING, plan.reason)
    turn.propose(
        ActionProposed(
            schema_version=SCHEMA_VERSION,
            action_id=request.action_id,
            proposal=awaiting.proposal,
            kind=request.kind,
            fingerprint=request.fingerprint,
            incident_id=request.incident_id,
            rule=request.rule,
            step=request.step,
            labels=request.labels,
            does=plan.reason,
            before=plan.before,
            after=plan.after,
            inverse=plan.inverse,
            approvers=step.approvers,
            reason=request.reason,
            evidence=request.evidence,
            expires_us=expires_us,
            at_us=plan.at_us,
        )
    )
    text = (
        f"{record.deed} waits for approval until {clock(expires_us)} UTC: {plan.reason}; taken "
        f"back by {flat(plan.inverse)}"
    )
    turn.move(AlertPhase.ESCALATED, text, record.step)
    turn.tell(text, loud=True)


def on_decision(
    rule: Rule, state: AlertState, command: DecideCommand, policy: Policy, now_us: int
) -> tuple[AlertState, tuple[Effect, ...]]:
    """Return what an alert becomes when somebody approves or rejects an action.

    ``now_us`` is the later of the command's time and the alert's newest signal. The same command
    again, as after a crash, changes nothing and says nothing.
    """
    record = state.record_for(command.subject)
    if record is not None and record.decided == command.command_id:
        return state, ()
    turn = Turn(rule, state, now_us, policy)
    awaiting = state.awaiting
    if why := _why_not(turn, record, command):
        said = f"{'approval' if command.approve else 'rejection'} by {command.by} did nothing: "
        turn.decide(
            command.subject,
            ActionDecision.IGNORED,
            why,
            proposal=command.proposal,
            command=command,
        )
        if record is not None:
            turn.move(turn.state.phase, f"{record.deed}: {said}{why}", record.step)
            if turn.state.open:
                turn.tell(f"{record.deed}: {said}{why}")
    elif awaiting is not None and record is not None:
        _decide(turn, awaiting, record, command)
    return turn.finish()


def _decide(turn: Turn, awaiting: Awaiting, record: StepRecord, command: DecideCommand) -> None:
    turn.set(awaiting=None)
    who = f"by {command.by}: {command.reason}"
    outcome = Outcome.REQUESTED if command.approve else Outcome.REJECTED
    turn.settle(record.step, outcome, who, decided=command.command_id)
    status = ActionDecision.APPROVED if command.approve else ActionDecision.REJECTED
    turn.decide(
        command.subject, status, command.reason, proposal=awaiting.proposal, command=command
    )
    if not command.approve:
        text = f"{record.deed} rejected {who}; nothing was done, the ladder goes on"
        turn.move(AlertPhase.ESCALATED, text, record.step)
        turn.tell(text)
        return
    granted = Granted(
        proposal=awaiting.proposal,
        does=awaiting.does,
        inverse=awaiting.inverse,
        approvers=awaiting.approvers,
        expires_us=awaiting.expires_us,
        by=command.by,
        reason=command.reason,
        command_id=command.command_id,
        at_us=command.at_us,
    )
    request = awaiting.request.model_copy(
        update={"granted": granted, "requested_at_us": command.at_us}
    )
    release(turn, request, who)


def _why_not(turn: Turn, record: StepRecord | None, command: DecideCommand) -> str:
    """Return why a decision does nothing; empty when it counts."""
    state, awaiting = turn.state, turn.state.awaiting
    if record is None:
        if state.incident_id != incident_in(command.subject):
            return "its incident is over"
        return "no such action was proposed"
    if awaiting is None or awaiting.request.action_id != command.subject:
        return _ended(state, record)
    if command.proposal != awaiting.proposal:
        return "it was made on another revision of the proposal"
    if command.at_us >= awaiting.expires_us or turn.now_us >= awaiting.expires_us:
        return f"the proposal has expired at {clock(awaiting.expires_us)} UTC"
    if awaiting.approvers and command.principal not in awaiting.approvers:
        return f"{', '.join(awaiting.approvers)} may decide"
    return _barred(turn, awaiting) if command.approve else ""


def _barred(turn: Turn, awaiting: Awaiting) -> str:
    """Return why an approved action must not go out now; it waits for approval still."""
    state, still = turn.state, "; it waits for approval still"
    decision = turn.policy.decide(awaiting.request, turn.now_us)
    step = turn.rule.step_named(awaiting.request.step)
    if not decision.allowed:
        return f"refused by policy: {decision.reason}{still}"
    if turn.policy.lagging or state.held:
        return f"numbers are late, and nothing is done on late numbers{still}"
    if state.unknown_us is not None:
        return f"there are no data now, and nothing is done on missing data{still}"
    if state.clear_us is not None:
        return f"the value is within the threshold now{still}"
    if step is not None and not step.wanted(state.value, state.detail):
        return f"the step wants {' and '.join(map(str, step.when))}, which does not hold now{still}"
    if step is not None and state.samples < (least := least_samples(turn.rule, step)):
        return f"too few samples ({state.samples} of {least}){still}"
    return ""


def _ended(state: AlertState, record: StepRecord) -> str:
    if record.outcome is Outcome.PLANNING:
        return "the executor has not said yet what it would do"
    if record.outcome is Outcome.EXPIRED:
        return f"the proposal has expired: {record.reason}"
    if record.outcome is Outcome.VOID or not state.open:
        return "the incident is over"
    if record.outcome is Outcome.REJECTED:
        return f"it was rejected already {record.reason}"
    return f"it was decided already: {record.outcome.replace('_', ' ')} {record.reason}".rstrip()


def ignored(command: DecideCommand, why: str) -> Decided:
    """Return what is said of a decision on an alert that nothing is known of."""
    incident_id = incident_in(command.subject)
    return Decided(
        ActionDecided(
            schema_version=SCHEMA_VERSION,
            action_id=command.subject,
            proposal=command.proposal,
            fingerprint=fingerprint_in(incident_id),
            incident_id=incident_id,
            status=ActionDecision.IGNORED,
            by=command.by,
            command_id=command.command_id,
            reason=why,
            at_us=command.at_us,
        )
    )


def expire(turn: Turn) -> None:
    """Give a proposal up that nobody has decided on in time."""
    awaiting = turn.state.awaiting
    if awaiting is None or turn.now_us < awaiting.expires_us:
        return
    request = awaiting.request
    record, step = turn.state.record_of(request.step), turn.rule.step_named(request.step)
    waited = format_duration((awaiting.expires_us - awaiting.since_us) / 1e6)
    why = f"nobody decided within {waited}"
    turn.set(awaiting=None)
    turn.settle(request.step, Outcome.EXPIRED, why)
    turn.decide(request.action_id, ActionDecision.EXPIRED, why, proposal=awaiting.proposal)
    deed = record.deed if record is not None else request.step
    goes_on = step is not None and step.if_expired is IfExpired.NEXT
    then = "the ladder goes on" if goes_on else "a human has to act: the ladder does not by itself"
    text = f"{deed}: {why}; nothing was done, {then}"
    turn.move(AlertPhase.ESCALATED, text, request.step)
    turn.tell(text, loud=not goes_on)


def void(turn: Turn, why: str) -> None:
    """Take a proposal back whose incident is over."""
    awaiting = turn.state.awaiting
    if awaiting is None:
        return
    request = awaiting.request
    turn.set(awaiting=None)
    turn.settle(request.step, Outcome.VOID, why)
    turn.decide(request.action_id, ActionDecision.VOID, why, proposal=awaiting.proposal)
