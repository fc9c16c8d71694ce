"""What people are to be told about one incident, before any receiver's format."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.alert import AlertPhase, Severity
from schemas.base import Labels, Message, Micros, Name, SchemaVersion

__all__ = [
    "Acknowledgement",
    "Approval",
    "GroupCounts",
    "LadderNote",
    "NotificationIntent",
    "NotifyEvent",
    "PlannedStep",
    "Share",
]


class NotifyEvent(StrEnum):
    """What a notification does to its incident; the names are PagerDuty's, with ``update``."""

    TRIGGER = "trigger"
    UPDATE = "update"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"


class LadderNote(Message):
    """One thing that has happened in an incident."""

    at_us: Micros
    text: str


class PlannedStep(Message):
    """One thing that will happen unless the value comes back; ``at_us`` is not before when."""

    at_us: Micros
    text: str


class Acknowledgement(Message):
    """Who looks after an incident."""

    by: str
    at_us: Micros
    reason: str = ""

    @property
    def line(self) -> str:
        """Return what an incident's story says of it."""
        return f"acknowledged by {self.by}{f': {self.reason}' if self.reason else ''}"


class Approval(Message):
    """An action that waits for somebody's yes, until ``expires_us``.

    ``does`` is exactly what would be done, ``inverse`` how it is taken back, ``approvers`` who may
    decide (everybody if none is named); ``proposal`` is the name of all that.
    """

    action_id: Name
    proposal: Name
    deed: str
    does: str
    inverse: str
    approvers: tuple[str, ...] = ()
    expires_us: Micros


class Share(Message):
    """What one value of a label has to do with a change.

    ``share`` is its part of the whole change: 1 explains all of it, a negative one moved the other
    way; ``traffic`` is its part of the requests. ``before`` and ``now`` are its own values in the
    signal's unit; None where it had no requests, or where the unit has no meaning for a part.
    """

    label: Name
    value: str
    share: float
    traffic: float
    before: float | None = None
    now: float | None = None
    requests: int


class GroupCounts(Message):
    """How many incidents one message tells of; ``examples`` are lines on the worst of them."""

    firing: int
    resolved: int = 0
    muted: int = 0
    examples: tuple[str, ...] = ()


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
    annotations: dict[str, str] = Field(default_factory=dict)
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
    acknowledged: Acknowledgement | None = None
    approval: Approval | None = None
    shares: tuple[Share, ...] = ()
    group: GroupCounts | None = None
