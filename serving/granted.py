"""Whether a person has approved exactly the action that is asked for: the executor's own look.

The request says so itself, but a request is only a message on `llm.actions`. What people decide
stands on `llm.commands`, which other processes write: who would have an action done without
approval must forge both, and whoever may write `llm.commands` is let in by the API.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from pydantic import ValidationError

from schemas.action import ActionRequested, proposal_of
from schemas.command import DecideCommand, command_message
from schemas.settings import KafkaSettings
from schemas.topics import Topics
from serving.log import read_topic

__all__ = ["Decisions", "decisions_on", "why_not_granted"]

Decisions = Callable[[str], Awaitable[Sequence[DecideCommand]]]
"""Returns what people decided on an action, in the order of the log."""


async def decisions_on(kafka: KafkaSettings, action_id: str) -> list[DecideCommand]:
    """Return what people decided on an action.

    Raises:
        KafkaError: the log could not be read.
    """
    found = []
    async for value in read_topic(kafka, Topics.COMMANDS.name):
        try:
            command = command_message.validate_json(value)
        except ValidationError:
            continue
        if isinstance(command, DecideCommand) and command.subject == action_id:
            found.append(command)
    return found


def why_not_granted(request: ActionRequested, decisions: Sequence[DecideCommand]) -> str | None:
    """Return why an action must not be taken for want of approval; None if it was approved.

    Args:
        request: what is asked, with what was granted.
        decisions: what people decided on its action, in the order of the log.
    """
    granted = request.granted
    if granted is None:
        return "it needs approval, and the request has none"
    name = proposal_of(
        request, granted.does, granted.inverse, granted.approvers, granted.expires_us
    )
    if name != granted.proposal:
        return "what is asked for is not what was approved"
    for command in decisions:
        if command.proposal != granted.proposal or command.at_us >= granted.expires_us:
            continue
        if granted.approvers and command.principal not in granted.approvers:
            continue
        if not command.approve:
            return f"it was rejected by {command.by}: {command.reason}"
        if command.command_id == granted.command_id:
            return None
    return f"no approval by {granted.by} stands on {Topics.COMMANDS.name}"
