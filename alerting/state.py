"""The state of one alert of one series; it lives in a table and survives restarts as JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from alerting.identity import fingerprint_of, plan_id_of, undo_id_of
from alerting.intent import LadderNote
from schemas.action import ActionKind, ActionRequested
from schemas.alert import AlertPhase, Severity
from schemas.base import Labels, Message, Micros, Name, SchemaVersion

__all__ = [
    "OPEN",
    "Acknowledged",
    "AlertState",
    "Awaiting",
    "Outcome",
    "StepRecord",
    "Verification",
    "Waiting",
]

OPEN = frozenset(
    {
        AlertPhase.FIRING,
        AlertPhase.ACKNOWLEDGED,
        AlertPhase.ESCALATED,
        AlertPhase.VERIFYING,
    }
)
"""The phases of an incident that is not over."""


class Outcome(StrEnum):
    """What became of a step that was taken."""

    TOLD = "told"
    BARRED = "barred"
    """By policy: kill switch, cooldown, cap and the like."""
    PLANNING = "planning"
    """The executor was asked what it would do; people are to approve that."""
    AWAITING = "awaiting"
    REJECTED = "rejected"
    EXPIRED = "expired"
    VOID = "void"
    """The incident was over before anybody decided."""
    REQUESTED = "requested"
    DRY_RUN = "dry_run"
    REFUSED = "refused"
    FAILED = "failed"
    APPLIED = "applied"
    RECOVERED = "recovered"
    NOT_RECOVERED = "not_recovered"
    UNVERIFIED = "unverified"
    """Applied, but too little data came to tell whether it helped; it stays in force."""
    UNDOING = "undoing"
    UNDONE = "undone"
    UNDO_FAILED = "undo_failed"


class StepRecord(Message):
    """One step that an episode has taken; a step stands here once at most."""

    step: Name
    at_us: Micros
    kind: ActionKind | None = None
    action_id: Name | None = None
    outcome: Outcome
    reason: str = ""
    applied_us: Micros | None = None
    decided: str = ""
    """The command that approved or rejected the action."""

    @property
    def deed(self) -> str:
        """Return the step for people, with its action where the name does not say it."""
        if self.kind is None or self.step.replace("-", "_") == self.kind:
            return self.step
        return f"{self.step} ({self.kind})"

    @property
    def in_force(self) -> bool:
        """Tell whether the action of the step changes serving still."""
        return self.applied_us is not None and self.outcome is not Outcome.UNDONE


class Verification(Message):
    """An applied action whose effect is being watched.

    ``verdict_us`` is when it was found to have helped; until then it is on trial.
    """

    step: Name
    action_id: Name
    since_us: Micros
    deadline_us: Micros
    verdict_us: Micros | None = None
    failing: bool = False
    """The last value that holds no sample from before the action was bad."""


class Waiting(Message):
    """A request that the executor has not answered; no other is made while it stands.

    ``planned`` is the action to propose once its plan is there.
    """

    action_id: Name
    step: Name
    since_us: Micros
    patience_us: int
    told: bool = False
    planned: ActionRequested | None = None


class Awaiting(Message):
    """An action that waits for somebody's approval; no other is asked for while it does."""

    proposal: Name
    request: ActionRequested
    does: str
    inverse: dict[str, Any] = Field(default_factory=dict)
    approvers: tuple[str, ...] = ()
    since_us: Micros
    expires_us: Micros


class Acknowledged(Message):
    """Who looks after an incident, and since when."""

    by: Name
    at_us: Micros
    reason: str = ""


class AlertState(Message):
    """Where one alert stands, with everything that the next decision needs.

    All times are event time. ``last_us`` is the newest signal seen: older and repeated ones change
    nothing. ``value``, ``samples``, ``baseline`` and ``detail`` are the last known ones.

    Attributes:
        pending_us: since when the value is bad, pushed on by times of unknown.
        unknown_us: since when the value is unknown; None while it is known.
        firing_us: when the incident began; dwell times count from here.
        clear_us: since when the value of an open incident is good again.
        worst: the worst value of this incident.
        quiet_us: since when the series has no samples at all.
        relieved_us: when another incident's rollback or fallback moved this series' traffic away.
        taken: the steps of this episode, in the order taken.
        waiting: the request that the executor has not answered yet.
        awaiting: the action that waits for approval.
        acknowledged: who looks after this incident; None while nobody does.
        fired: when this alert fired lately, over all its episodes; what flapping is told by.
        told_us: when the newest intent was made or said again.
        said_no_data, held: what was said already, so that it is said once.
    """

    schema_version: SchemaVersion = 1
    fingerprint: Name
    rule: Name
    labels: Labels
    phase: AlertPhase = AlertPhase.INACTIVE
    severity: Severity | None = None
    incident_id: Name | None = None
    revision: int = 0
    last_us: Micros | None = None
    unknown_us: Micros | None = None
    pending_us: Micros | None = None
    firing_us: Micros | None = None
    clear_us: Micros | None = None
    quiet_us: Micros | None = None
    relieved_us: Micros | None = None
    value: float | None = None
    worst: float | None = None
    samples: int = 0
    baseline: float | None = None
    detail: dict[str, float] = Field(default_factory=dict)
    taken: tuple[StepRecord, ...] = ()
    waiting: Waiting | None = None
    awaiting: Awaiting | None = None
    verifying: Verification | None = None
    history: tuple[LadderNote, ...] = ()
    acknowledged: Acknowledged | None = None
    fired: tuple[Micros, ...] = ()
    told_us: Micros | None = None
    said_no_data: bool = False
    held: bool = False

    @classmethod
    def inactive(cls, rule: str, labels: Labels) -> AlertState:
        """Return the state of an alert that was never heard of."""
        return cls(fingerprint=fingerprint_of(rule, labels), rule=rule, labels=labels)

    @property
    def open(self) -> bool:
        """Tell whether an incident is going on."""
        return self.phase in OPEN

    @property
    def live(self) -> bool:
        """Tell whether the alert is open or about to be."""
        return self.open or self.phase is AlertPhase.PENDING

    @property
    def idle(self) -> bool:
        """Tell whether forgetting the state loses nothing."""
        return self.phase in (AlertPhase.INACTIVE, AlertPhase.RESOLVED) and self.waiting is None

    def record_of(self, step: str) -> StepRecord | None:
        """Return what became of a step in this episode; None when it was not taken."""
        return next((record for record in self.taken if record.step == step), None)

    def record_for(self, action_id: str) -> StepRecord | None:
        """Return the step whose action, its plan or its undo has a name; None if none has."""
        return next(
            (
                record
                for record in self.taken
                if record.action_id is not None
                and action_id
                in (record.action_id, plan_id_of(record.action_id), undo_id_of(record.action_id))
            ),
            None,
        )
