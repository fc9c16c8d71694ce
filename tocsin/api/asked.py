"""The bodies of the API's requests, and the commands that they ask for."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from alerting.rules.duration import parse_duration
from alerting.silence import Silence
from schemas.base import SCHEMA_VERSION, Name
from schemas.command import AckCommand, CommandVia, DecideCommand, ExpireCommand, SilenceCommand

__all__ = ["AskAck", "AskDecision", "AskExpiry", "AskSilence"]

_LONGEST_S: Final = 366 * 86_400
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Author = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(min_length=1, max_length=2_000)]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    author: Author
    reason: Text


class AskSilence(_Asked):
    """``POST /v1/silences``; ``duration`` such as ``2h``, or ``ends_at``."""

    matchers: Annotated[list[str], Field(min_length=1, max_length=50)]
    duration: str | None = None
    ends_at: dt.datetime | None = None
    starts_at: dt.datetime | None = None
    mutes_actions: bool = False

    @field_validator("duration")
    @classmethod
    def _length(cls, value: str | None) -> str | None:
        if value is not None and not 0 < parse_duration(value) <= _LONGEST_S:
            raise ValueError("expected more than 0s and no more than a year")
        return value

    @field_validator("ends_at", "starts_at")
    @classmethod
    def _zone(cls, value: dt.datetime | None) -> dt.datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("expected a time with its zone, such as 2026-11-24T08:00:00Z")
        return value

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.duration is None) is (self.ends_at is None):
            raise ValueError("expected either duration or ends_at")
        return self

    def command(self, command_id: str, now_us: int) -> SilenceCommand:
        """Return the command.

        Raises:
            ValueError: the times or the matchers make no silence.
        """
        starts_us = now_us if self.starts_at is None else _micros(self.starts_at)
        if self.ends_at is not None:
            ends_us = _micros(self.ends_at)
        else:
            ends_us = starts_us + round(parse_duration(self.duration) * 1e6)
        if ends_us <= max(starts_us, now_us):
            raise ValueError("ends_at: expected a time to come, after starts_at")
        command = SilenceCommand(
            schema_version=SCHEMA_VERSION,
            command_id=command_id,
            subject="s-" + hashlib.sha256(command_id.encode()).hexdigest()[:12],
            matchers=tuple(self.matchers),
            by=self.author,
            via=CommandVia.API,
            reason=self.reason,
            starts_us=starts_us,
            ends_us=ends_us,
            mutes_actions=self.mutes_actions,
            at_us=now_us,
        )
        Silence.asked(command)
        return command


class AskExpiry(_Asked):
    """``POST /v1/silences/{id}/expire``."""

    def command(self, command_id: str, subject: str, now_us: int) -> ExpireCommand:
        """Return the command."""
        return ExpireCommand(
            schema_version=SCHEMA_VERSION,
            command_id=command_id,
            subject=subject,
            by=self.author,
            via=CommandVia.API,
            reason=self.reason,
            at_us=now_us,
        )


class AskAck(_Asked):
    """``POST /v1/acks``."""

    incident_id: Name

    def command(self, command_id: str, now_us: int) -> AckCommand:
        """Return the command."""
        return AckCommand(
            schema_version=SCHEMA_VERSION,
            command_id=command_id,
            subject=self.incident_id,
            by=self.author,
            via=CommandVia.API,
            reason=self.reason,
            at_us=now_us,
        )


class AskDecision(_Asked):
    """``POST /v1/decisions``: let an action out that waits for approval, or keep it in.

    ``proposal`` is what ``GET /v1/approvals`` names so: the decision is on that and nothing else.
    """

    incident_id: Name
    action_id: Name
    proposal: Name
    approve: bool

    def command(self, command_id: str, now_us: int) -> DecideCommand:
        """Return the command."""
        return DecideCommand(
            schema_version=SCHEMA_VERSION,
            command_id=command_id,
            subject=self.action_id,
            incident_id=self.incident_id,
            proposal=self.proposal,
            approve=self.approve,
            by=self.author,
            via=CommandVia.API,
            reason=self.reason,
            at_us=now_us,
        )


def _micros(at: dt.datetime) -> int:
    return (at - _EPOCH) // dt.timedelta(microseconds=1)
