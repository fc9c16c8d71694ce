"""The values of ``llm.actions``: what is asked for, approved and done, and whether it helped.

A step that needs approval goes four ways: a request that ``plans`` asks the executor what exactly
it would do; ``ActionProposed`` publishes that answer as waiting for somebody's yes;
``ActionDecided`` says who decided what, or that nobody did; only then comes the request itself,
with what was granted in it.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from schemas.base import Duration, Labels, Message, Micros, Name, SchemaVersion

__all__ = [
    "ActionDecided",
    "ActionDecision",
    "ActionKind",
    "ActionMessage",
    "ActionMode",
    "ActionProposed",
    "ActionRequested",
    "ActionResult",
    "ActionStatus",
    "ActionVerdict",
    "Granted",
    "KillSwitch",
    "action_message",
    "proposal_of",
    "strictest",
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


class ActionMode(StrEnum):
    """How an action may be taken; each mode is stricter than the one before."""

    AUTOMATIC = "automatic"
    REQUIRED = "required"
    """Only when a person has approved exactly this action."""
    DRY_RUN = "dry_run"


_STRICTNESS = {mode: place for place, mode in enumerate(ActionMode)}


def strictest(*modes: ActionMode) -> ActionMode:
    """Return the strictest of some modes.

    Examples:
        >>> strictest(ActionMode.REQUIRED, ActionMode.AUTOMATIC).value
        'required'
    """
    return max(modes, key=_STRICTNESS.__getitem__)


class ActionStatus(StrEnum):
    """What became of an action; every status but ``applied`` left serving as it was."""

    APPLIED = "applied"
    PLANNED = "planned"
    """What would be done, for people to approve; ``reason`` is the plan in words."""
    DRY_RUN = "dry_run"
    REFUSED = "refused"
    FAILED = "failed"


class Granted(Message):
    """What a person approved: the proposal's name, and all that it stands for.

    ``does`` and ``inverse`` are the executor's plan: it acts only if it comes to the same plan
    again. ``command_id`` names the command on ``llm.commands`` that says so.
    """

    proposal: Name
    does: str
    inverse: dict[str, Any] = Field(default_factory=dict)
    approvers: tuple[Name, ...] = ()
    expires_us: Micros
    by: Name
    reason: str
    command_id: Name
    at_us: Micros


class ActionRequested(Message):
    """An escalation step asks serving to act.

    ``action_id`` is derived from incident and step, so that asking twice acts once.
    ``undoes`` names the action whose inverse is wanted (kind ``undo``). With ``plans``, the name
    of the action to come, nothing is to be done but to say what would be. An action of mode
    ``required`` is carried out only with what was ``granted``.
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
    mode: ActionMode = ActionMode.AUTOMATIC
    plans: Name | None = None
    granted: Granted | None = None
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


class ActionProposed(Message):
    """An action waits for somebody's approval, until ``expires_us``.

    ``does`` says what exactly would be done and ``inverse`` how it is taken back; ``approvers``
    may decide, everybody if none is named. ``proposal`` is the name of all that: a decision counts
    for the one that it names alone.
    """

    type: Literal["action_proposed"] = "action_proposed"
    schema_version: SchemaVersion
    action_id: Name
    proposal: Name
    kind: ActionKind
    fingerprint: Name
    incident_id: Name
    rule: Name
    step: Name
    labels: Labels
    does: str
    before: dict[str, Any] = Field(default_factory=dict)
    after: dict[str, Any] = Field(default_factory=dict)
    inverse: dict[str, Any] = Field(default_factory=dict)
    approvers: tuple[Name, ...] = ()
    reason: str
    evidence: dict[str, float] = Field(default_factory=dict)
    expires_us: Micros
    at_us: Micros


class ActionDecision(StrEnum):
    """What became of a proposal."""

    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    VOID = "void"
    """The incident was over before anybody decided."""
    IGNORED = "ignored"
    """Somebody's word that changes nothing; ``reason`` says why."""


class ActionDecided(Message):
    """What somebody, or the lack of anybody, decided on an action; ``by`` is empty for nobody."""

    type: Literal["action_decided"] = "action_decided"
    schema_version: SchemaVersion
    action_id: Name
    proposal: str = ""
    fingerprint: Name
    incident_id: Name
    status: ActionDecision
    by: str = ""
    command_id: str = ""
    reason: str
    at_us: Micros


class KillSwitch(Message):
    """The executor says how its kill switch stands: at first, and whenever it was turned.

    ``reason`` is who turned it on, and why.
    """

    type: Literal["kill_switch"] = "kill_switch"
    schema_version: SchemaVersion
    status: Literal["on", "off"]
    reason: str = ""
    executor: Name
    at_us: Micros


def proposal_of(
    request: ActionRequested,
    does: str,
    inverse: dict[str, Any],
    approvers: tuple[str, ...],
    expires_us: int,
) -> str:
    """Return the name of exactly this action as it is proposed: 32 hexadecimal digits.

    Another action, target, plan, circle of approvers or expiry has another name.
    """
    parts = [
        request.action_id,
        request.incident_id,
        request.kind.value,
        sorted(request.labels.items()),
        does,
        inverse,
        list(approvers),
        expires_us,
    ]
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


ActionMessage = Annotated[
    ActionRequested | ActionResult | ActionVerdict | ActionProposed | ActionDecided | KillSwitch,
    Field(discriminator="type"),
]

action_message: TypeAdapter[
    ActionRequested | ActionResult | ActionVerdict | ActionProposed | ActionDecided | KillSwitch
] = TypeAdapter(ActionMessage)
