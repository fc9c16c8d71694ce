"""Rules, policy, and how incidents become messages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator

from schemas.action import ActionKind, ActionMode
from schemas.settings.section import Count, PositiveSeconds, Seconds, Section

__all__ = ["AlertingSettings", "GroupingSettings"]


class AlertingSettings(Section):
    """Which rules are in force and what may act."""

    rules: Path | None = Field(default=None, description="a rules file instead of the default")
    dry_run: bool = Field(default=False, description="ask for actions but let none be applied")
    actions_per_hour: Count = 6
    cooldown_s: Seconds = 600
    undone_cooldown_s: Seconds = Field(
        default=6 * 3_600,
        description="an action that was undone, for it did not help, is not taken again sooner",
    )
    blast_radius: Count = Field(
        default=3, description="so many models, and no more, are acted on within an hour"
    )
    modes: dict[ActionKind, ActionMode] = Field(
        default_factory=dict,
        description="automatic, required (approval) or dry_run for each kind of action; of a "
        "rule's and this the stricter holds, and the executor sees to it",
    )
    max_watermark_lag_s: PositiveSeconds = 60

    @field_validator("modes")
    @classmethod
    def _undo_has_no_mode(cls, value: dict[ActionKind, ActionMode]) -> dict[ActionKind, ActionMode]:
        if ActionKind.UNDO in value:
            raise ValueError("expected no 'undo': what was approved covers its being taken back")
        return value


class GroupingSettings(Section):
    """Which incidents are told as one message, and how often; the times are Alertmanager's.

    ``by`` names the labels (and ``rule``, ``severity``) whose values an incident shares with its
    group; ``...`` alone means all of them, so that each incident is a message of its own, told at
    once.
    """

    by: tuple[str, ...] = ("...",)
    wait_s: Seconds = Field(default=10, description="a new group waits for more of its kind")
    interval_s: PositiveSeconds = Field(
        default=300, description="a group that was told of tells of changes no sooner"
    )
    repeat_s: PositiveSeconds = Field(default=4 * 3_600, description="what still fires says so")
    storm_after: Annotated[int, Field(ge=0, le=100)] = Field(
        default=6, description="as many new messages in a storm window; 0: no limit"
    )
    storm_window_s: PositiveSeconds = Field(
        default=300, description="what comes beyond storm_after in it is told as one message"
    )

    def scaled(self, factor: float) -> Self:
        """Return the times divided by a factor: a rehearsal in fast motion."""
        times = ("wait_s", "interval_s", "repeat_s", "storm_window_s")
        return self.model_copy(update={name: getattr(self, name) / factor for name in times})
