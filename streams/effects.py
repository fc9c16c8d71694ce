"""Where each effect of a decision goes."""

from __future__ import annotations

from alerting.effects import Act, Decided, Effect, Judge, Notify, Proposed, Stands, Transitioned
from schemas.base import Message
from schemas.topics import Topic, Topics

__all__ = ["message_of"]


def message_of(effect: Effect) -> tuple[Topic, Message]:
    """Return the message that carries an effect, and its topic."""
    match effect:
        case Transitioned(transition):
            return Topics.ALERTS, transition
        case Notify(intent) | Stands(intent):
            return Topics.NOTIFICATIONS, intent
        case Act(message) | Judge(message) | Proposed(message) | Decided(message):
            return Topics.ACTIONS, message
