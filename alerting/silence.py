"""Silences: matchers that mute people's channels for a time, by somebody and for a reason. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field

from alerting.rules.scope import ScopeMatcher
from schemas.base import Labels, Message, Micros, Name
from schemas.command import SilenceCommand

__all__ = ["Silence", "alert_labels", "silenced_by"]


def alert_labels(rule: str, severity: str, labels: Labels) -> Labels:
    """Return what matchers and groups know of an alert: its labels, ``rule`` and ``severity``."""
    return {**labels, "rule": rule, "severity": severity}


class Silence(Message):
    """One silence; it holds from ``starts_us`` up to, not including, ``ends_us``."""

    silence_id: Name
    matchers: Annotated[tuple[ScopeMatcher, ...], Field(min_length=1)]
    by: str
    reason: str
    starts_us: Micros
    ends_us: Micros
    mutes_actions: bool = False

    @classmethod
    def asked(cls, command: SilenceCommand) -> Self:
        """Return the silence that a command asks for.

        Raises:
            ValueError: a matcher cannot be read, or none would keep any alert out.
        """
        silence = cls(
            silence_id=command.subject,
            matchers=command.matchers,
            by=command.by,
            reason=command.reason,
            starts_us=command.starts_us,
            ends_us=command.ends_us,
            mutes_actions=command.mutes_actions,
        )
        if all(matcher.matches({}) for matcher in silence.matchers):
            raise ValueError(
                "expected a matcher that needs a label to be there; these match every alert"
            )
        return silence

    def ended(self, now_us: int) -> Self:
        """Return the silence as it is when it is ended now; one that is over stays as it is."""
        ends_us = max(self.starts_us, min(self.ends_us, now_us))
        return self.model_copy(update={"ends_us": ends_us})

    def active(self, now_us: int) -> bool:
        """Tell whether it holds at a time."""
        return self.starts_us <= now_us < self.ends_us

    def covers(self, labels: Labels) -> bool:
        """Tell whether it speaks of an alert with these labels (``alert_labels``)."""
        return all(matcher.matches(labels) for matcher in self.matchers)


def silenced_by(
    silences: Iterable[Silence], labels: Labels, now_us: int, *, actions: bool = False
) -> Silence | None:
    """Return a silence that mutes an alert now, that with the latest end; None when none does.

    With ``actions``, only silences that mute remediation, too.
    """
    muting = [
        silence
        for silence in silences
        if silence.active(now_us)
        and (silence.mutes_actions or not actions)
        and silence.covers(labels)
    ]
    return max(muting, key=lambda silence: silence.ends_us, default=None)
