"""What people are to be told about one incident, before any receiver's format."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.alert import AlertPhase, Severity
from schemas.base import Labels, Message, Micros, Name, SchemaVersion

__all__ = ["LadderNote", "NotificationIntent", "NotifyEvent", "PlannedStep"]


class NotifyEvent(StrEnum):
    """What a notification does to its incident; the names are PagerDuty's, with ``update``."""

    TRIGGER = "trigger"
    UPDATE = "update"
    RESOLVE = "resolve"


class LadderNote(Message):
    """One thing that has happened in an incident."""

    at_us: Micros
    text: str


class PlannedStep(Message):
    """One thing that will happen unless the value comes back; ``at_us`` is not before when."""

    at_us: Micros
    text: str


class NotificationIntent(Message):
    """One state of one incident, whole: a receiver shows the newest ``revision`` and no other.

    ``dedup_key`` is the same for every intent of an incident and differs between incidents.
    ``news`` is why this intent was made; ``loud`` says that a person has to look now.
    """

    schema_version: SchemaVersion
    incident_id: Name
    fingerprint: Name
    dedup_key: Annotated[str, Field(min_length=1, max_length=255)]
    revision: Annotated[int, Field(ge=1)]
    event: NotifyEvent
    loud: bool = False
    severity: Severity
    phase: AlertPhase
    rule: Name
    title: str
    description: str | None = None
    news: tuple[str, ...] = ()
    advice: str | None = None
    labels: Labels
    signal: str
    unit: str
    value: float | None = None
    baseline: float | None = None
    samples: int
    threshold: str
    over_s: float
    firing_since_us: Micros
    at_us: Micros
    history: tuple[LadderNote, ...] = ()
    plan: tuple[PlannedStep, ...] = ()
    sql: str
    runbook: str
