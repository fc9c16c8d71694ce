"""One rung of a ladder, and what all parts of a rules file share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from alerting.rules.condition import ConditionText
from alerting.rules.duration import format_duration, parse_duration
from schemas.action import ActionKind, ActionMode, strictest
from schemas.alert import Severity

__all__ = ["Data", "DurationText", "IfExpired", "RuleName", "Step", "Text", "check_name"]

_NAME: Final = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")


def _conditions(value: object) -> object:
    return (value,) if isinstance(value, str) else value


DurationText = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
RuleName = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(min_length=1, max_length=2_000)]
Approver = Annotated[str, Field(min_length=1, max_length=100)]


_APPROVE_WITHIN_S: Final = 1_800.0
_DAY_S: Final = 86_400


class IfExpired(StrEnum):
    """What follows when nobody decides on an action in time."""

    PAGE = "page"
    """A human is paged, and the ladder does nothing more by itself in this incident."""
    NEXT = "next"
    """The ladder goes on."""


def check_name(value: str) -> str:
    """Return the name if it is one.

    Raises:
        ValueError: the text is no name.
    """
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no name; use lower case, digits and hyphens: error-rate")
    return value


class Data(BaseModel):
    """A part of a rules file: frozen, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(Data):
    """One rung of a ladder: what to tell people, or what to do, and when.

    ``after_s`` counts from the moment the alert fired. Every condition of ``when`` must hold for
    the step to be taken; what is unknown does not hold. ``verify_within_s`` is how long the value
    may take to come back after an action before the action is undone. ``unless_acknowledged`` holds
    the step while somebody looks after the incident.

    ``approval`` says whether the action may be taken: by itself, only when somebody of
    ``approvers`` (everybody if none is named) approves it within ``approve_within_s``, or never (a
    dry run). ``if_expired`` is what follows when nobody does.
    """

    name: RuleName
    after_s: DurationText = Field(alias="after")
    when: Annotated[tuple[ConditionText, ...], BeforeValidator(_conditions)] = ()
    notify: Text | None = None
    act: ActionKind | None = None
    advice: Text | None = None
    verify_within_s: DurationText | None = Field(default=None, alias="verify_within")
    min_samples: Annotated[int, Field(ge=0)] | None = None
    severity: Severity | None = None
    unless_acknowledged: bool = False
    approval: ActionMode = ActionMode.AUTOMATIC
    approve_within_s: DurationText = Field(default=_APPROVE_WITHIN_S, alias="approve_within")
    if_expired: IfExpired = IfExpired.PAGE
    approvers: Annotated[tuple[Approver, ...], Field(max_length=50)] = ()

    _check_name = field_validator("name")(check_name)

    @model_validator(mode="after")
    def _one_deed(self) -> Self:
        if (self.notify is None) == (self.act is None):
            raise ValueError("expected either 'notify' (a text) or 'act' (an action), one of them")
        if self.act is None:
            for key in ("verify_within", "min_samples", "advice"):
                if getattr(self, f"{key}_s" if key == "verify_within" else key) is not None:
                    raise ValueError(f"'{key}' belongs to a step that acts; this one notifies")
            if "approval" in self.model_fields_set:
                raise ValueError("'approval' belongs to a step that acts; this one notifies")
        else:
            if self.act is ActionKind.UNDO:
                raise ValueError("'act: undo' is no step; an action is undone when it did not help")
            if not self.verify_within_s:
                raise ValueError(
                    "expected 'verify_within': how long the value may take to come back"
                )
        return self

    @model_validator(mode="after")
    def _approval(self) -> Self:
        if self.approval is not ActionMode.REQUIRED:
            for field, key in (
                ("approve_within_s", "approve_within"),
                ("if_expired", "if_expired"),
                ("approvers", "approvers"),
            ):
                if field in self.model_fields_set:
                    raise ValueError(f"'{key}' belongs to a step with 'approval: required'")
        if not 0 < self.approve_within_s <= _DAY_S:
            raise ValueError("'approve_within' is how long people have: more than 0s, at most 1d")
        return self

    def scaled(self, factor: float) -> Step:
        """Return the step with its durations divided by a factor."""
        within_s = self.verify_within_s
        return self.model_copy(
            update={
                "after_s": self.after_s / factor,
                "verify_within_s": within_s / factor if within_s is not None else None,
                "approve_within_s": self.approve_within_s / factor,
            }
        )

    def restrained(self, modes: Mapping[ActionKind, ActionMode]) -> Step:
        """Return the step with its approval at least as strict as the mode for its action."""
        if self.act is None:
            return self
        mode = strictest(self.approval, modes.get(self.act, ActionMode.AUTOMATIC))
        return self if mode is self.approval else self.model_copy(update={"approval": mode})

    def wanted(self, value: float | None, detail: Mapping[str, float]) -> bool:
        """Tell whether every condition of the step is known to hold."""
        return all(condition.holds(value, detail) for condition in self.when)

    def describe(self) -> str:
        """Return what the step does, in a few words for people."""
        deed = f"act: {self.act}" if self.act is not None else "tell people"
        when = " and ".join(str(condition) for condition in self.when)
        unless = ", unless acknowledged" if self.unless_acknowledged else ""
        how = {
            ActionMode.AUTOMATIC: "",
            ActionMode.REQUIRED: f", if approved within {format_duration(self.approve_within_s)}",
            ActionMode.DRY_RUN: ", as a dry run",
        }[self.approval]
        return f"{self.name} ({deed}{f', when {when}' if when else ''}{unless}{how})"
