"""What a page says about an incident: what broke, how bad, since when, and what comes next."""

from __future__ import annotations

from alerting.bounds import least_samples, left_to_people
from alerting.intent import Approval, NotificationIntent, NotifyEvent, PlannedStep
from alerting.rules.duration import format_duration
from alerting.rules.model import Rule
from alerting.rules.step import IfExpired, Step
from alerting.sql import incident_sql
from alerting.state import AlertState, Awaiting, Outcome
from alerting.text import clock, flat
from schemas.base import SCHEMA_VERSION
from schemas.signal import SIGNALS

__all__ = ["compose", "format_value", "plan_of"]


def format_value(value: float | None, unit: str) -> str:
    """Return a value with its unit for people; None reads ``unknown``."""
    if value is None:
        return "unknown"
    if unit == "ratio":
        return f"{value:.2%}"
    if unit == "x":
        return f"{value:.2f}x"
    return f"{value:.4g} {unit}"


def compose(
    rule: Rule,
    state: AlertState,
    *,
    event: NotifyEvent,
    news: tuple[str, ...],
    loud: bool,
    at_us: int,
) -> NotificationIntent:
    """Return everything that a page says about an incident as it stands.

    ``state`` has an incident, open or just resolved.
    """
    unit = SIGNALS[rule.signal].unit
    firing_us = state.firing_us if state.firing_us is not None else at_us
    incident_id = state.incident_id or state.fingerprint
    value = state.value if state.unknown_us is None else None

    # The title says what broke, also once it is over.
    told = state.value if state.value is not None and rule.bad(state.value) else state.worst

    def render(text: str) -> str:
        return rule.render(text, state.labels, told, state.baseline, state.samples)

    return NotificationIntent(
        schema_version=SCHEMA_VERSION,
        incident_id=incident_id,
        fingerprint=state.fingerprint,
        dedup_key=f"tocsin-{incident_id}",
        revision=state.revision,
        event=event,
        loud=loud,
        severity=state.severity or rule.severity,
        phase=state.phase,
        rule=rule.name,
        title=render(rule.summary),
        description=render(rule.description) if rule.description is not None else None,
        annotations=rule.render_annotations(state.labels, told, state.baseline, state.samples),
        news=news,
        advice=_advice(rule, state) if event is not NotifyEvent.RESOLVE else None,
        labels=state.labels,
        signal=rule.signal.value,
        unit=unit,
        value=value,
        baseline=state.baseline,
        samples=state.samples,
        threshold=f"{rule.condition.op} {format_value(rule.condition.threshold, unit)}",
        over_s=rule.over_s,
        firing_since_us=firing_us,
        at_us=at_us,
        history=state.history,
        plan=plan_of(rule, state) if event is not NotifyEvent.RESOLVE else (),
        sql=incident_sql(rule.signal, state.labels, firing_us, rule.over_s),
        runbook=rule.runbook,
        approval=_approval(state),
    )


def _approval(state: AlertState) -> Approval | None:
    awaiting = state.awaiting
    if awaiting is None or not state.open:
        return None
    record = state.record_of(awaiting.request.step)
    return Approval(
        action_id=awaiting.request.action_id,
        proposal=awaiting.proposal,
        deed=record.deed if record is not None else awaiting.request.step,
        does=awaiting.does,
        inverse=flat(awaiting.inverse),
        approvers=awaiting.approvers,
        expires_us=awaiting.expires_us,
    )


def plan_of(rule: Rule, state: AlertState) -> tuple[PlannedStep, ...]:
    """Return what the ladder will do unless the value comes back, and not before when."""
    if not state.open or state.firing_us is None:
        return ()
    plan = []
    trial = state.verifying
    if trial is not None and trial.verdict_us is None:
        plan.append(
            PlannedStep(
                at_us=trial.deadline_us,
                text=f"undo {trial.step} and page, unless {_recovery(rule)} by then",
            )
        )
    if state.awaiting is not None:
        plan.append(_waits(rule, state, state.awaiting))
    for step in rule.ladder:
        if state.record_of(step.name) is None and not left_to_people(rule, state, step):
            due_us = state.firing_us + round(step.after_s * 1e6)
            plan.append(PlannedStep(at_us=due_us, text=_planned(rule, step)))
    return tuple(plan)


def _waits(rule: Rule, state: AlertState, awaiting: Awaiting) -> PlannedStep:
    step = rule.step_named(awaiting.request.step)
    goes_on = step is not None and step.if_expired is IfExpired.NEXT
    then = "the ladder goes on" if goes_on else "a human is paged"
    record = state.record_of(awaiting.request.step)
    return PlannedStep(
        at_us=awaiting.expires_us,
        text=f"{record.deed if record is not None else awaiting.request.step} waits for approval "
        f"until {clock(awaiting.expires_us)} UTC; without one {then}",
    )


def _recovery(rule: Rule) -> str:
    """Return by which metric an action is judged, for people."""
    unit = SIGNALS[rule.signal].unit
    threshold = format_value(rule.condition.threshold, unit)
    over = f" over {format_duration(rule.over_s)}" if rule.over_s else ""
    return f"{rule.signal}{over} is no longer {rule.condition.op} {threshold}"


def _planned(rule: Rule, step: Step) -> str:
    text = step.describe()
    if step.act is not None:
        within = format_duration(step.verify_within_s or 0)
        text += (
            f"; needs {least_samples(rule, step)} samples; undone unless {_recovery(rule)} "
            f"within {within}"
        )
    return text


def _advice(rule: Rule, state: AlertState) -> str | None:
    for record in reversed(state.taken):
        step = rule.step_named(record.step)
        if step is None:
            continue
        if step.notify is not None:
            return step.notify
        if step.advice is not None and record.outcome is not Outcome.BARRED:
            return step.advice
    return None
