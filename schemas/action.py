"""The values of ``llm.actions``: actions asked for, what became of them, whether they helped."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from schemas.base import Duration, Labels, Message, Micros, Name, SchemaVersion

__all__ = [
    "ActionKind",
    "ActionMessage",
    "ActionRequested",
    "ActionResult",
    "ActionStatus",
    "ActionVerdict",
    "action_message",
]


class ActionKind(StrEnum):
    """What an escalation step may ask of serving."""

    ROLLBACK = "rollback"
    FALLBACK = "fallback"
    SCALE_UP = "scale_up"
    RATE_LIMIT = "rate_limit"
    CANARY_OFF = "canary_off"
    CHAIN_ON = "chain_on"
    CHAIN_OFF = "chain_off"
    UNLOAD_ADAPTER = "unload_adapter"
    ROLLOUT_UNDO = "rollout_undo"
    UNDO = "undo"


class ActionStatus(StrEnum):
    """What became of an action; every status but ``applied`` left serving as it was."""

    APPLIED = "applied"
    DRY_RUN = "dry_run"
    REFUSED = "refused"
    FAILED = "failed"


class ActionRequested(Message):
    """An escalation step asks serving to act.

    ``action_id`` is derived from incident and step, so that asking twice acts once.
    ``undoes`` names the action whose inverse is wanted (kind ``undo``).
    """

    type: Literal["action_requested"] = "action_requested"
    schema_version: SchemaVersion
    action_id: Name
    kind: ActionKind
    fingerprint: Name
    incident_id: Name
    rule: Name
    step: Name
    labels: Labels
    dry_run: bool = False
    undoes: str | None = None
    reason: str
    evidence: dict[str, float] = Field(default_factory=dict)
    verify_within_s: Duration
    requested_at_us: Micros


class ActionResult(Message):
    """What the executor did: the plan, what stood before and after, and how to take it back."""

    type: Literal["action_result"] = "action_result"
    schema_version: SchemaVersion
    action_id: Name
    kind: ActionKind
    fingerprint: Name
    incident_id: Name
    status: ActionStatus
    actuator: Name
    reason: str
    before: dict[str, Any] = Field(default_factory=dict)
    after: dict[str, Any] = Field(default_factory=dict)
    inverse: dict[str, Any] = Field(default_factory=dict)
    executor: Name
    at_us: Micros


class ActionVerdict(Message):
    """Whether the metric recovered within the time the step allowed."""

    type: Literal["action_verdict"] = "action_verdict"
    schema_version: SchemaVersion
    action_id: Name
    fingerprint: Name
    incident_id: Name
    recovered: bool
    value: float | None = None
    reason: str
    at_us: Micros


ActionMessage = Annotated[
    ActionRequested | ActionResult | ActionVerdict, Field(discriminator="type")
]

action_message: TypeAdapter[ActionRequested | ActionResult | ActionVerdict] = TypeAdapter(
    ActionMessage
)
