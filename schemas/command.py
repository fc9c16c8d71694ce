"""What people ask of alerting, as told on ``llm.commands``: silences, acknowledgements, decisions.

A command's ``command_id`` makes it take effect once, however often it comes. Who asked, by which
way and why stand in each: the topic is the audit trail, and its table has the rows.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator

from schemas.base import Message, Micros, Name, SchemaVersion

__all__ = [
    "AckCommand",
    "Command",
    "CommandVia",
    "DecideCommand",
    "ExpireCommand",
    "SilenceCommand",
    "command_message",
]

Reason = Annotated[str, Field(min_length=1, max_length=2_000)]
_SLACK_ID: Final = re.compile(r"\(([^()]+)\)$")
MatcherText = Annotated[str, Field(min_length=1, max_length=1_000)]


class CommandVia(StrEnum):
    """The way by which a command came."""

    API = "api"
    SLACK = "slack"


class _Command(Message):
    schema_version: SchemaVersion
    command_id: Name
    by: Name
    via: CommandVia
    reason: Reason
    at_us: Micros


class SilenceCommand(_Command):
    """Mute the people's channels for the alerts whose labels fulfil all matchers.

    ``subject`` names the silence. Matchers are texts such as ``model=llama`` or ``plan=~pro|team``;
    beside a series' labels they know ``rule`` and ``severity``. Remediation goes on unless
    ``mutes_actions``.
    """

    type: Literal["silence"] = "silence"
    subject: Name
    matchers: Annotated[tuple[MatcherText, ...], Field(min_length=1, max_length=50)]
    starts_us: Micros
    ends_us: Micros
    mutes_actions: bool = False

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.ends_us <= self.starts_us:
            raise ValueError("ends_us: expected a time after starts_us")
        return self


class ExpireCommand(_Command):
    """End the silence ``subject`` now."""

    type: Literal["expire"] = "expire"
    subject: Name


class AckCommand(_Command):
    """Somebody looks after the incident ``subject``: it bothers nobody else any more."""

    type: Literal["ack"] = "ack"
    subject: Name


class DecideCommand(_Command):
    """Let the action ``subject`` of an incident out, or keep it in; the first decision counts.

    ``proposal`` names what the person was shown (``schemas.action.proposal_of``): a decision on
    anything else does nothing.
    """

    type: Literal["decide"] = "decide"
    subject: Name
    incident_id: Name
    proposal: Name
    approve: bool

    @property
    def principal(self) -> str:
        """Return who decided, as lists of approvers name them: Slack's user id, or the author.

        Slack users choose the names that ``by`` begins with; its id, in brackets at the end, is
        what the signature vouches for.
        """
        if self.via is CommandVia.SLACK and (match := _SLACK_ID.search(self.by)):
            return match[1]
        return self.by


Command = SilenceCommand | ExpireCommand | AckCommand | DecideCommand

command_message: TypeAdapter[Any] = TypeAdapter(
    Annotated[Command, Field(discriminator="type")], config=ConfigDict(hide_input_in_errors=True)
)
