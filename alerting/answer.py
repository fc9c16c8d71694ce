"""What an alert makes of the executor's answers, its own and its neighbours'."""

from __future__ import annotations

from alerting.approval import open_proposal
from alerting.effects import Effect
from alerting.identity import undo_id_of
from alerting.policy import Policy
from alerting.rules.duration import format_duration
from alerting.rules.model import Rule
from alerting.state import AlertState, Outcome, StepRecord, Verification
from alerting.turn import Turn
from alerting.verify import MOVES_TRAFFIC
from schemas.action import ActionKind, ActionRequested, ActionResult, ActionStatus
from schemas.alert import AlertPhase

__all__ = ["on_action", "on_neighbour"]

_OUTCOMES = {
    ActionStatus.APPLIED: Outcome.APPLIED,
    ActionStatus.DRY_RUN: Outcome.DRY_RUN,
    ActionStatus.REFUSED: Outcome.REFUSED,
    ActionStatus.FAILED: Outcome.FAILED,
    ActionStatus.PLANNED: Outcome.REFUSED,  # instead of acting: nothing was done
}
_UNDECIDED = frozenset({Outcome.AWAITING, Outcome.EXPIRED, Outcome.REJECTED, Outcome.VOID})


def on_action(
    rule: Rule, state: AlertState, message: ActionResult, now_us: int
) -> tuple[AlertState, tuple[Effect, ...]]:
    """Return what an alert becomes on the executor's answer.

    Planned: people are asked to approve it. Applied: the action is on trial for its step's
    ``verify_within``. Anything else left serving as it was: people are told and the ladder goes on
    at the next signal, each step as soon as its own dwell is over. An answer that is not awaited
    (a repeat, another incident's) changes nothing.
    """
    waiting = state.waiting
    if message.fingerprint != state.fingerprint:
        return state, ()
    turn = Turn(rule, state, now_us, Policy())
    if waiting is None or message.action_id != waiting.action_id:
        _adopt(turn, message)
        return turn.finish()
    turn.set(waiting=None)
    record = state.record_for(message.action_id)
    if record is None:  # an earlier episode asked; its incident is over
        return turn.finish()
    if message.status is ActionStatus.PLANNED and waiting.planned is not None:
        open_proposal(turn, record, waiting.planned, message)
    elif message.action_id == undo_id_of(record.action_id or ""):
        _undo_answered(turn, record, message)
    elif message.status is ActionStatus.APPLIED:
        _applied(turn, record, message, waiting.patience_us)
    else:  # of a plan, too: nobody is asked to approve what cannot be done
        text = f"{record.deed} {message.status.replace('_', ' ')}: {message.reason}"
        turn.settle(record.step, _OUTCOMES[message.status], message.reason)
        turn.move(turn.state.phase, text, record.step)
        turn.tell(text, loud=message.status is ActionStatus.FAILED)
    return turn.finish()


def _adopt(turn: Turn, message: ActionResult) -> None:
    """Watch an action that took effect though its request was forgotten.

    A worker that dies after it published an approved request, before its state is safe, may find
    the proposal expired when it decides again. What is in force has to be judged all the same.
    """
    record = turn.state.record_for(message.action_id)
    if (
        record is None
        or message.status is not ActionStatus.APPLIED
        or message.action_id != record.action_id
        or record.outcome not in _UNDECIDED
    ):
        return
    if turn.state.waiting is not None or turn.state.verifying is not None:
        text = f"{record.deed} applied, too: {message.reason}; it is not watched, please look"
        turn.settle(record.step, Outcome.UNVERIFIED, text, applied_us=message.at_us)
        turn.move(turn.state.phase, text, record.step)
        turn.tell(text, loud=True)
        return
    step = turn.rule.step_named(record.step)
    if turn.state.awaiting is not None and turn.state.awaiting.request.step == record.step:
        turn.set(awaiting=None)
    within_s = step.verify_within_s if step is not None else None
    _applied(turn, record, message, round((within_s or 0) * 1e6))


def _applied(turn: Turn, record: StepRecord, message: ActionResult, patience_us: int) -> None:
    turn.settle(record.step, Outcome.APPLIED, message.reason, applied_us=message.at_us)
    text = f"{record.deed} applied: {message.reason}"
    if not turn.state.open:
        late = "applied after the alert had resolved; it stays in force"
        turn.judge(message.action_id, True, f"the value was back before; {late}")
        turn.settle(record.step, Outcome.RECOVERED, late)
        turn.move(turn.state.phase, f"{text}; {late}", record.step)
        turn.tell(f"{text}; {late}", loud=True)
        return
    turn.set(
        verifying=Verification(
            step=record.step,
            action_id=message.action_id,
            since_us=message.at_us,
            deadline_us=message.at_us + patience_us,
        )
    )
    turn.move(AlertPhase.VERIFYING, text, record.step)
    turn.tell(f"{text}; to be proven within {format_duration(patience_us / 1e6)}")


def _undo_answered(turn: Turn, record: StepRecord, message: ActionResult) -> None:
    undone = message.status is ActionStatus.APPLIED
    outcome = Outcome.UNDONE if undone else Outcome.UNDO_FAILED
    turn.settle(record.step, outcome, message.reason)
    text = f"{record.deed}: undo {message.status.replace('_', ' ')}: {message.reason}"
    if not undone:
        text += "; it stays in force"
    turn.move(turn.state.phase, text, record.step)
    turn.tell(text, loud=not undone)


def on_neighbour(
    rule: Rule, state: AlertState, request: ActionRequested, result: ActionResult, now_us: int
) -> tuple[AlertState, tuple[Effect, ...]]:
    """Return what an alert becomes when another incident's action moved its traffic away.

    One rollback ends a version's series in every rule. Without this, an alert on, say, the
    latency of that version would wait for data for ever. It applies to applied rollbacks and
    fallbacks whose labels agree with the series on all that both have, a version or a provider
    among them; an applied undo takes it back. Heard again after a crash, an answer changes nothing.
    """
    common = state.labels.keys() & request.labels.keys()
    if (
        result.action_id != request.action_id
        or result.status is not ActionStatus.APPLIED
        or request.fingerprint == state.fingerprint
        or not state.live
        or not common & {"model_version", "provider"}
        or any(state.labels[name] != request.labels[name] for name in common)
    ):
        return state, ()
    turn = Turn(rule, state, now_us, Policy())
    if request.kind is ActionKind.UNDO:
        if state.relieved_us is None:
            return state, ()
        turn.set(relieved_us=None)
        text = f"{request.rule}: {request.step} was undone"
    elif request.kind in MOVES_TRAFFIC:
        if state.relieved_us == result.at_us:
            return state, ()
        turn.set(relieved_us=result.at_us)
        text = f"{request.rule}: {request.step} applied: this series' traffic moves away"
    else:
        return state, ()
    if state.open:
        turn.move(state.phase, text, request.step)
        turn.tell(text)
    return turn.finish()
