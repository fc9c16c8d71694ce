"""One rung of a ladder, and what all parts of a rules file share."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
from alerting.rules.duration import parse_duration
from schemas.action import ActionKind
from schemas.alert import Severity

__all__ = ["Data", "DurationText", "RuleName", "Step", "Text", "check_name"]

_NAME: Final = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")


def _conditions(value: object) -> object:
    return (value,) if isinstance(value, str) else value


DurationText = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
RuleName = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(min_length=1, max_length=2_000)]


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

    _check_name = field_validator("name")(check_name)

    @model_validator(mode="after")
    def _one_deed(self) -> Self:
        if (self.notify is None) == (self.act is None):
            raise ValueError("expected either 'notify' (a text) or 'act' (an action), one of them")
        if self.act is None:
            for key in ("verify_within", "min_samples", "advice"):
                if getattr(self, f"{key}_s" if key == "verify_within" else key) is not None:
                    raise ValueError(f"'{key}' belongs to a step that acts; this one notifies")
        else:
            if self.act is ActionKind.UNDO:
                raise ValueError("'act: undo' is no step; an action is undone when it did not help")
            if not self.verify_within_s:
                raise ValueError(
                    "expected 'verify_within': how long the value may take to come back"
                )
        return self

    def scaled(self, factor: float) -> Step:
        """Return the step with its durations divided by a factor."""
        within_s = self.verify_within_s
        return self.model_copy(
            update={
                "after_s": self.after_s / factor,
                "verify_within_s": within_s / factor if within_s is not None else None,
            }
        )

    def wanted(self, value: float | None, detail: Mapping[str, float]) -> bool:
        """Tell whether every condition of the step is known to hold."""
        return all(condition.holds(value, detail) for condition in self.when)

    def describe(self) -> str:
        """Return what the step does, in a few words for people."""
        deed = f"act: {self.act}" if self.act is not None else "tell people"
        when = " and ".join(str(condition) for condition in self.when)
        unless = ", unless acknowledged" if self.unless_acknowledged else ""
        return f"{self.name} ({deed}{f', when {when}' if when else ''}{unless})"
