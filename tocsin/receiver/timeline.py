"""The loop's own timeline: from the regression to the resolve, one moment for each step."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Micros, Name

__all__ = ["STEP_TITLES", "Step", "StepName", "Timeline"]


class StepName(StrEnum):
    """The steps that every turn of the loop takes, in their order."""

    REGRESSION_BEGAN = "regression_began"
    FIRST_SIGNAL = "first_signal"
    PAGED = "paged"
    ROLLBACK_REQUESTED = "rollback_requested"
    ROLLBACK_APPLIED = "rollback_applied"
    RECOVERED = "recovered"
    RESOLVED = "resolved"


STEP_TITLES: Final[dict[StepName, str]] = {
    StepName.REGRESSION_BEGAN: "Regression began",
    StepName.FIRST_SIGNAL: "First signal",
    StepName.PAGED: "Page sent",
    StepName.ROLLBACK_REQUESTED: "Rollback requested",
    StepName.ROLLBACK_APPLIED: "Rollback applied",
    StepName.RECOVERED: "Recovered",
    StepName.RESOLVED: "Resolved",
}


class Step(BaseModel):
    """One thing that happened; a step outside ``StepName`` is shown where its time puts it.

    ``at_us`` is UTC microseconds on the same clock as the points of the charts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Name
    at_us: Micros
    title: Annotated[str, Field(max_length=120)] = ""
    detail: Annotated[str, Field(max_length=500)] = ""


class Timeline:
    """Steps by name; a step told again replaces the one told before."""

    def __init__(self, limit: int = 100) -> None:
        self.limit = limit
        self.dropped = 0
        self._steps: dict[str, Step] = {}

    def add(self, step: Step) -> None:
        """Keep a step; above the limit the oldest that is not one of the loop's own goes."""
        self._steps[step.step] = step
        if len(self._steps) > self.limit:
            known = set(StepName)
            extra = next((name for name in self._steps if name not in known), None)
            if extra is not None:
                del self._steps[extra]
                self.dropped += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the steps by time, and the catalogue of those that are still to come."""
        steps = sorted(self._steps.values(), key=lambda step: step.at_us)
        return {
            "steps": [step.model_dump() for step in steps],
            "catalogue": [{"step": name, "title": title} for name, title in STEP_TITLES.items()],
        }
