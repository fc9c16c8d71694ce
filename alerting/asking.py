"""Asking for an action: what the request says, and what follows when policy bars it or not."""

from __future__ import annotations

from alerting.identity import action_id_of, plan_id_of
from alerting.rules.duration import format_duration
from alerting.rules.step import Step
from alerting.state import Outcome, StepRecord, Waiting
from alerting.turn import Turn
from schemas.action import ActionKind, ActionMode, ActionRequested
from schemas.alert import AlertPhase
from schemas.base import SCHEMA_VERSION

__all__ = ["ask", "release", "request_of"]


def ask(turn: Turn, step: Step, kind: ActionKind) -> None:
    """Ask for a step's action as far as policy and its approval allow.

    What people are to approve is asked for as a plan first: they are shown what exactly would be
    done, and are not bothered with what cannot be.
    """
    rule = turn.rule
    dwell = format_duration(step.after_s)
    when = " and ".join(str(condition) for condition in step.when) or str(rule.condition)
    reason = f"{rule.name} fires for {dwell} or more and {when}"
    request = request_of(turn, step.name, kind, reason, step.verify_within_s or 0).model_copy(
        update={
            "mode": step.approval,
            "dry_run": turn.policy.dry_run or step.approval is ActionMode.DRY_RUN,
        }
    )
    decision = turn.policy.decide(request, turn.now_us)
    proposes = step.approval is ActionMode.REQUIRED and not request.dry_run
    outcome = Outcome.PLANNING if proposes else Outcome.REQUESTED
    turn.take(
        StepRecord(
            step=step.name,
            at_us=turn.now_us,
            kind=kind,
            action_id=request.action_id,
            outcome=outcome if decision.allowed else Outcome.BARRED,
            reason=decision.reason,
        )
    )
    if not decision.allowed:
        text = f"{step.name}: refused by policy: {decision.reason}; nothing was done"
        turn.move(AlertPhase.ESCALATED, text, step.name)
        turn.tell(text, loud=True)
    elif proposes:
        _plan(turn, request)
    else:
        release(turn, request)


def release(turn: Turn, request: ActionRequested, approved: str = "") -> None:
    """Let a request out, whose step is written down; ``approved`` says by whom and why, if so."""
    record = turn.state.record_for(request.action_id)
    deed = record.deed if record is not None else request.step
    _wait(turn, request, request.action_id)
    asked = f"{deed} asked for{' as a dry run' if request.dry_run else ''}"
    if approved:
        asked += f", approved {approved}"
    turn.move(AlertPhase.ESCALATED, f"{asked}: {request.reason}", request.step)
    turn.act(request)
    steps = f"({len(turn.state.taken)} of {len(turn.rule.ladder)} steps)"
    turn.tell(f"{asked} {steps}", loud=True)


def _plan(turn: Turn, request: ActionRequested) -> None:
    plan = request.model_copy(
        update={"action_id": plan_id_of(request.action_id), "plans": request.action_id}
    )
    _wait(turn, request, plan.action_id, planned=request)
    text = f"{request.step}: needs approval; the executor is asked what it would do"
    turn.move(AlertPhase.ESCALATED, f"{text}: {request.reason}", request.step)
    turn.act(plan)


def _wait(
    turn: Turn, request: ActionRequested, action_id: str, planned: ActionRequested | None = None
) -> None:
    turn.set(
        waiting=Waiting(
            action_id=action_id,
            step=request.step,
            since_us=turn.now_us,
            patience_us=round(request.verify_within_s * 1e6),
            planned=planned,
        )
    )


def request_of(
    turn: Turn, step: str, kind: ActionKind, reason: str, verify_within_s: float
) -> ActionRequested:
    """Return the request for an action, with what is known now as its evidence."""
    state, rule = turn.state, turn.rule
    incident_id = state.incident_id or state.fingerprint
    evidence = {
        **state.detail,
        "samples": float(state.samples),
        "threshold": rule.condition.threshold,
    }
    if state.value is not None:
        evidence["value"] = state.value
    if state.baseline is not None:
        evidence["baseline"] = state.baseline
    return ActionRequested(
        schema_version=SCHEMA_VERSION,
        action_id=action_id_of(incident_id, step),
        kind=kind,
        fingerprint=state.fingerprint,
        incident_id=incident_id,
        rule=rule.name,
        step=step,
        labels=state.labels,
        dry_run=turn.policy.dry_run,
        reason=reason,
        evidence=evidence,
        verify_within_s=verify_within_s,
        requested_at_us=turn.now_us,
    )
