"""The escalation ladder: which steps an open alert takes now."""

from __future__ import annotations

from alerting.asking import ask, request_of
from alerting.bounds import least_samples, left_to_people
from alerting.identity import action_id_of, undo_id_of
from alerting.rules.duration import format_duration
from alerting.rules.step import Step
from alerting.state import Outcome, StepRecord, Waiting
from alerting.turn import Turn
from schemas.action import ActionKind
from schemas.alert import AlertPhase, Severity

__all__ = ["climb", "remind", "request_undo"]

_LOUDNESS = tuple(Severity)


def climb(turn: Turn) -> None:
    """Take the steps that are due, given that the value is known and bad now.

    Each is taken once an episode. A step whose conditions do not hold, or that an acknowledgement
    holds, is passed over and may come later. One action at a time: while one waits for approval or
    its answer, or is on trial, later ones wait and people are still told.
    """
    state, rule = turn.state, turn.rule
    firing_us = state.firing_us if state.firing_us is not None else turn.now_us
    for step in rule.ladder:
        if turn.now_us - firing_us < round(step.after_s * 1e6):
            break
        if turn.state.record_of(step.name) is not None:
            continue
        if not step.wanted(turn.state.value, turn.state.detail):
            continue
        if step.unless_acknowledged and turn.state.acknowledged is not None:
            continue
        if step.act is None:
            _tell(turn, step)
        elif (
            turn.state.waiting is None
            and turn.state.awaiting is None
            and turn.state.verifying is None
            and turn.state.samples >= least_samples(rule, step)
            and not left_to_people(rule, turn.state, step)
        ):
            _raise(turn, step)
            ask(turn, step, step.act)


def _tell(turn: Turn, step: Step) -> None:
    _raise(turn, step)
    turn.take(StepRecord(step=step.name, at_us=turn.now_us, outcome=Outcome.TOLD))
    if step.after_s == 0 and turn.state.firing_us == turn.now_us:
        return  # the page that says so is the advice itself
    phase = turn.state.phase
    if phase is not AlertPhase.VERIFYING:
        phase = AlertPhase.ESCALATED
    turn.move(phase, f"step {step.name}: tell people", step.name)
    turn.tell(f"{step.name}: {step.notify}", loud=True)


def request_undo(turn: Turn, record: StepRecord, reason: str) -> None:
    """Ask for the inverse of an action that did not help, and page."""
    action_id = record.action_id or action_id_of(turn.state.incident_id or "", record.step)
    request = request_of(turn, record.step, ActionKind.UNDO, reason, 0).model_copy(
        update={"action_id": undo_id_of(action_id), "undoes": action_id}
    )
    decision = turn.policy.decide(request, turn.now_us)
    if not decision.allowed:
        text = f"{record.step}: {reason}; undo refused by policy: {decision.reason}"
        turn.settle(record.step, Outcome.NOT_RECOVERED, decision.reason)
        turn.move(AlertPhase.ESCALATED, text, record.step)
        turn.tell(f"{text}; it stays in force", loud=True)
        return
    turn.settle(record.step, Outcome.UNDOING, reason)
    trial = turn.state.verifying
    turn.set(
        waiting=Waiting(
            action_id=request.action_id,
            step=record.step,
            since_us=turn.now_us,
            patience_us=trial.deadline_us - trial.since_us if trial is not None else 0,
        )
    )
    turn.move(AlertPhase.ESCALATED, f"{record.step}: {reason}; undo asked for", record.step)
    turn.act(request)
    turn.tell(f"{record.step}: {reason}; undo asked for", loud=True)


def remind(turn: Turn) -> None:
    """Tell people, once, that the executor does not answer."""
    waiting = turn.state.waiting
    if waiting is None or waiting.told or turn.now_us - waiting.since_us < waiting.patience_us:
        return
    silence = format_duration((turn.now_us - waiting.since_us) / 1e6)
    text = (
        f"{waiting.step}: no answer from the executor for {silence}; no further action until then"
    )
    turn.set(waiting=waiting.model_copy(update={"told": True}))
    turn.move(turn.state.phase, text, waiting.step)
    turn.tell(text, loud=True)


def _raise(turn: Turn, step: Step) -> None:
    now = turn.state.severity or turn.rule.severity
    if step.severity is not None and _LOUDNESS.index(step.severity) > _LOUDNESS.index(now):
        turn.set(severity=step.severity)
