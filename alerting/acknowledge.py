"""What an alert makes of somebody's word that they look after it."""

from __future__ import annotations

from alerting.effects import Effect
from alerting.policy import Policy
from alerting.rules.model import Rule
from alerting.state import Acknowledged, AlertState
from alerting.turn import Turn
from schemas.alert import AlertPhase

__all__ = ["on_acknowledge"]


def on_acknowledge(
    rule: Rule, state: AlertState, incident_id: str, by: str, at_us: int, reason: str = ""
) -> tuple[AlertState, tuple[Effect, ...]]:
    """Return what an open alert becomes when somebody takes it on.

    Steps that say ``unless_acknowledged`` are held from then on; all others go on as planned. The
    first one to acknowledge an incident is kept: a second time, another incident's and one that is
    over change nothing. An action on trial stays so.
    """
    if not state.open or state.incident_id != incident_id or state.acknowledged is not None:
        return state, ()
    turn = Turn(rule, state, at_us, Policy())
    turn.set(acknowledged=Acknowledged(by=by, at_us=at_us, reason=reason))
    text = f"acknowledged by {by}{f': {reason}' if reason else ''}"
    phase = state.phase if state.phase is AlertPhase.VERIFYING else AlertPhase.ACKNOWLEDGED
    turn.move(phase, text)
    turn.tell(text)
    return turn.finish()
