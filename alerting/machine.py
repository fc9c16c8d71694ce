"""The state machine of one alert: pure functions from (state, what was seen) to (state, effects).

Phases: inactive -> pending (``for``) -> firing -> acknowledged (somebody looks after it) ->
escalated (a step was taken, or waits for approval) -> verifying (an action was applied) ->
resolved. Time is event time, given by the caller. An alert that flaps stays open longer
(``alerting/rules/damping.py``).

What is unknown (no value, or fewer samples than the rule wants) neither fires nor resolves nor
escalates, and stops the clock of ``for``. While the watermark lags, every rule but that of the
lag itself holds.
"""

from __future__ import annotations

from typing import Final

from alerting.acknowledge import on_acknowledge
from alerting.answer import on_action, on_neighbour
from alerting.approval import expire, on_decision, void
from alerting.effects import Effect
from alerting.errors import SignalMismatchError
from alerting.identity import incident_id_of
from alerting.intent import NotifyEvent
from alerting.ladder import climb, remind
from alerting.policy import Policy
from alerting.rules.duration import format_duration
from alerting.rules.model import Rule
from alerting.state import AlertState
from alerting.turn import Turn
from alerting.verify import moved_by, removal, verify_bad, verify_good, verify_unknown
from schemas.alert import AlertPhase
from schemas.signal import Signal, SignalName

__all__ = ["on_acknowledge", "on_action", "on_decision", "on_neighbour", "step", "withdraw"]

_FIRINGS_KEPT: Final = 20


def step(
    rule: Rule, state: AlertState, signal: Signal, now_us: int, policy: Policy
) -> tuple[AlertState, tuple[Effect, ...]]:
    """Return what an alert becomes on one signal, and what is to be done about it.

    ``now_us`` is the event time, normally the signal's ``window_end_us``; a signal that is not
    newer than the last one changes nothing. The same state object comes back when nothing is
    worth keeping. At most one ``Act`` and one ``Notify`` come out of one call.

    Raises:
        SignalMismatchError: signal, rule and state do not belong together.
    """
    if state.rule != rule.name or state.labels != signal.labels or not rule.matches(signal):
        raise SignalMismatchError(
            f"rule {rule.name!r} with state of {state.rule!r} {state.labels} "
            f"was given {signal.signal} {signal.labels} over {signal.over_s:g} s"
        )
    if state.last_us is not None and now_us <= state.last_us:
        return state, ()
    turn = Turn(rule, state, now_us, policy)
    expire(turn)
    value = signal.value if signal.samples >= rule.min_samples else None
    if policy.lagging and rule.signal is not SignalName.WATERMARK_LAG:
        _hold(turn)
    elif value is None:
        _unknown(turn, signal)
    elif rule.bad(value):
        _bad(turn, signal, value)
    else:
        _good(turn, signal, value)
    if turn.state is state:
        return state, ()
    turn.set(last_us=now_us)
    return turn.finish()


def _hold(turn: Turn) -> None:
    state = turn.state
    if not state.live:
        return
    turn.set(unknown_us=state.unknown_us if state.unknown_us is not None else turn.now_us)
    if not state.held:
        turn.set(held=True)
        turn.move(state.phase, "held: the watermark lags, so numbers are not complete")


def _know(turn: Turn, signal: Signal, value: float) -> None:
    state = turn.state
    worst = state.worst
    if worst is None or (value > worst) is (turn.rule.condition.op[0] == ">"):
        worst = value
    turn.set(
        value=value,
        samples=signal.samples,
        baseline=signal.baseline,
        detail=dict(signal.detail),
        worst=worst,
        unknown_us=None,
        quiet_us=None,
        held=False,
    )


def _bad(turn: Turn, signal: Signal, value: float) -> None:
    rule, unknown_us = turn.rule, turn.state.unknown_us
    if not turn.state.live:
        old = turn.state  # a request without an answer outlives its episode: it still bars others
        turn.state = AlertState(
            fingerprint=old.fingerprint,
            rule=old.rule,
            labels=old.labels,
            phase=old.phase,
            waiting=old.waiting,
            fired=old.fired,
            pending_us=turn.now_us,
        )
        _know(turn, signal, value)
        if rule.for_s > 0:
            turn.move(AlertPhase.PENDING, f"{rule.condition}: waits {format_duration(rule.for_s)}")
            return
    else:
        _know(turn, signal, value)
    if turn.state.open:
        turn.set(clear_us=None)
        verify_bad(turn)
        climb(turn)
        remind(turn)
        return
    pending_us = turn.state.pending_us if turn.state.pending_us is not None else turn.now_us
    if unknown_us is not None:  # only time of which it is known that the value was bad counts
        pending_us += turn.now_us - unknown_us
        turn.set(pending_us=pending_us)
    if turn.now_us - pending_us >= round(rule.for_s * 1e6):
        _fire(turn)


def _fire(turn: Turn) -> None:
    state, rule = turn.state, turn.rule
    since_us = turn.now_us - round(rule.damp.within_s * 1e6)
    fired = (*(at_us for at_us in state.fired if at_us > since_us), turn.now_us)
    turn.set(
        fired=fired[-_FIRINGS_KEPT:],
        firing_us=turn.now_us,
        incident_id=incident_id_of(state.fingerprint, turn.now_us),
        severity=rule.severity,
        pending_us=None,
    )
    dwell = f" for {format_duration(rule.for_s)}" if rule.for_s else ""
    reason = f"{rule.signal} {rule.condition} over {format_duration(rule.over_s)}{dwell}"
    turn.move(AlertPhase.FIRING, reason)
    turn.tell(f"fired: {reason}", event=NotifyEvent.TRIGGER, loud=True)
    if rule.damp.flaps(len(fired)):
        turn.tell(
            f"flaps: {len(fired)} times within {format_duration(rule.damp.within_s)}; stays open "
            f"until good for {format_duration(_hold_s(turn))}"
        )
    climb(turn)


def _hold_s(turn: Turn) -> float:
    """Return how long the value must be good before the incident resolves."""
    rule = turn.rule
    least_s = max(rule.for_s, rule.over_s)
    return rule.damp.hold_s(len(turn.state.fired), rule.keep_firing_for_s, least_s)


def _good(turn: Turn, signal: Signal, value: float) -> None:
    state = turn.state
    if state.phase is AlertPhase.PENDING:
        _know(turn, signal, value)
        turn.move(AlertPhase.INACTIVE, "cleared before it fired")
        turn.set(pending_us=None, unknown_us=None)
        return
    if not state.open:
        return
    _know(turn, signal, value)
    if turn.state.clear_us is None:
        turn.set(clear_us=turn.now_us)
    on_trial = verify_good(turn)
    remind(turn)
    clear_us = turn.state.clear_us if turn.state.clear_us is not None else turn.now_us
    hold_s = _hold_s(turn)
    if not on_trial and turn.now_us - clear_us >= round(hold_s * 1e6):
        _resolve(turn, f"back within the threshold for {format_duration(hold_s)}")


def _unknown(turn: Turn, signal: Signal) -> None:
    state, rule = turn.state, turn.rule
    if not state.live:
        return
    unknown_us = state.unknown_us if state.unknown_us is not None else turn.now_us
    turn.set(unknown_us=unknown_us, held=False)
    if state.phase is AlertPhase.PENDING:
        if turn.now_us - unknown_us > round(max(rule.for_s, rule.over_s) * 1e6):
            turn.move(AlertPhase.INACTIVE, "no data any more before it fired")
            turn.set(pending_us=None, unknown_us=None)
        return
    if signal.samples:
        turn.set(quiet_us=None)
    elif state.quiet_us is None:
        turn.set(quiet_us=max(0, turn.now_us - round(rule.over_s * 1e6)))
    gone = removal(turn)
    if gone is not None:
        _resolve(turn, gone)
        return
    if not turn.state.said_no_data:
        _say_no_data(turn, signal.samples)
    verify_unknown(turn)
    remind(turn)


def _say_no_data(turn: Turn, samples: int) -> None:
    rule = turn.rule
    turn.set(said_no_data=True)
    if moved := moved_by(turn.state):  # as is to be expected, so nobody is bothered
        turn.move(turn.state.phase, f"requests end since {moved[1]} was applied")
        return
    what = f"too few samples ({samples} of {rule.min_samples})" if samples else "no data"
    text = f"{what}: the alert neither resolves nor escalates until there is enough"
    turn.move(turn.state.phase, text)
    turn.tell(text)


def _resolve(turn: Turn, reason: str) -> None:
    void(turn, "the incident resolved first")
    turn.move(AlertPhase.RESOLVED, reason)
    turn.set(verifying=None, clear_us=None, quiet_us=None, unknown_us=None)
    turn.tell(f"resolved: {reason}", event=NotifyEvent.RESOLVE)


def withdraw(
    rule: Rule, state: AlertState, now_us: int, reason: str
) -> tuple[AlertState, tuple[Effect, ...]]:
    """Return what becomes of an alert whose rule is no longer in force: nobody waits for it.

    What the executor still owes is waited for as before.
    """
    turn = Turn(rule, state, now_us, Policy())
    if state.phase is AlertPhase.PENDING:
        turn.move(AlertPhase.INACTIVE, reason)
        turn.set(pending_us=None, unknown_us=None)
    elif state.open:
        _resolve(turn, reason)
    return turn.finish()
