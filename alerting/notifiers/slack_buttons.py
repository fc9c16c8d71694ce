"""The buttons under an incident in Slack: what each says, and what a click on it brings back."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any, Final

from pydantic import ValidationError

from alerting.intent import NotificationIntent, NotifyEvent
from alerting.rules.scope import Matcher
from schemas.base import Message, Name

__all__ = ["Button", "Pressed", "buttons_of", "matchers_of"]

_VALUE: Final = 2_000
_PREFIX: Final = "tocsin."


class Button(StrEnum):
    """The buttons there are; their ids in Slack have ``tocsin.`` before."""

    ACK = "ack"
    SILENCE = "silence_1h"
    APPROVE = "approve"
    REJECT = "reject"

    @property
    def action_id(self) -> str:
        """Return the button's id in Slack."""
        return f"{_PREFIX}{self.value}"


class Pressed(Message):
    """What a button carries: the incident as its message showed it.

    ``revision`` tells a second click on the same message from one on a later state.
    """

    incident_id: Name
    revision: int
    action_id: str = ""
    proposal: str = ""
    matchers: tuple[str, ...] = ()

    @classmethod
    def read(cls, action: dict[str, Any]) -> tuple[Button, Pressed]:
        """Return the button and what it carries, from one of Slack's ``actions``.

        Raises:
            ValueError: it is none of ours.
        """
        try:
            button = Button(str(action.get("action_id", "")).removeprefix(_PREFIX))
            return button, cls.model_validate_json(str(action.get("value", "")))
        except ValidationError:
            raise ValueError("the button's value is not Tocsin's") from None

    def command_id(self, button: Button, user: str = "") -> str:
        """Return the name of what a click asks for: the same for every click on one message.

        A decision is one user's: what the second one gets to hear is that there was a first.
        """
        if button in (Button.APPROVE, Button.REJECT):
            parts = [self.action_id, self.proposal, str(self.revision), user]
        elif button is Button.ACK:
            parts = [self.incident_id, ""]
        else:
            parts = [self.incident_id, str(self.revision)]
        digest = hashlib.sha256(":".join(parts).encode()).hexdigest()
        return f"slack/{button}/{digest[:20]}"


def matchers_of(intent: NotificationIntent) -> tuple[str, ...]:
    """Return matchers for exactly the alerts of an incident; none when they cannot be written."""
    if intent.group is not None and not intent.labels:
        return ()  # what a storm's alerts share is nothing that a silence should rest on
    pairs = [("rule", intent.rule), *sorted(intent.labels.items())]
    if intent.group is not None and intent.rule in ("group", "storm"):
        del pairs[0]  # it stands for several rules
    texts = tuple(f"{name}={value}" for name, value in pairs)
    try:
        exact = all(
            Matcher.parse(text) == Matcher(label=name, op="=", value=value)
            for text, (name, value) in zip(texts, pairs, strict=True)
        )
    except ValueError:
        return ()
    return texts if exact else ()


def buttons_of(intent: NotificationIntent) -> list[dict[str, Any]]:
    """Return Slack's block of buttons for an incident; none once it is over."""
    if intent.event is NotifyEvent.RESOLVE:
        return []
    carried = Pressed(incident_id=intent.incident_id, revision=intent.revision)
    buttons = []
    if intent.approval is not None:
        decided = carried.model_copy(
            update={
                "action_id": intent.approval.action_id,
                "proposal": intent.approval.proposal,
            }
        )
        buttons += [
            _button(Button.APPROVE, f"Approve {intent.approval.deed}"[:75], decided, "primary"),
            _button(Button.REJECT, "Reject", decided, "danger"),
        ]
    if intent.acknowledged is None:
        buttons.append(_button(Button.ACK, "Acknowledge", carried))
    if matchers := matchers_of(intent):
        silence = carried.model_copy(update={"matchers": matchers})
        if len(silence.to_json().decode()) <= _VALUE:
            buttons.append(_button(Button.SILENCE, "Silence 1 h", silence))
    return [{"type": "actions", "block_id": "tocsin", "elements": buttons}] if buttons else []


def _button(button: Button, text: str, carried: Pressed, style: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "button",
        "action_id": button.action_id,
        "text": {"type": "plain_text", "text": text, "emoji": True},
        "value": carried.to_json().decode(),
    }
    if style:
        made["style"] = style
    return made
