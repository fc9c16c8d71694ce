"""What every actuator does: plan, check, apply, read back, and know the way back."""

from __future__ import annotations

from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from schemas.action import ActionRequested, ActionResult
from schemas.base import Micros, Name

__all__ = ["Actuator", "Plan", "ReadBack", "Refusal"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Plan(_Model):
    """What would be done, and what must still hold when it is.

    ``before``, ``after`` and ``inverse`` are what the result will carry; ``expected`` is the token
    of the compare-and-set: the state that the plan was made for.
    """

    action_id: Name
    actuator: Name
    summary: str
    before: dict[str, Any]
    after: dict[str, Any]
    inverse: dict[str, Any]
    expected: str
    at_us: Micros


class Refusal(_Model):
    """Why nothing will be done, in words for a human."""

    reason: str


class ReadBack(_Model):
    """What stands after an action, read afresh the way serving reads it."""

    confirmed: bool
    found: dict[str, Any]
    reason: str


class Actuator(Protocol):
    """One lever of serving.

    ``plan`` and ``plan_undo`` have no effect and may be called at any time. ``apply`` acts only if
    the state is still the plan's, at most once for each action id, and records the result together
    with the effect, so that a crash leaves both or neither.
    """

    @property
    def name(self) -> str:
        """Return the name that results carry."""

    async def recorded(self, action_id: str) -> ActionResult | None:
        """Return the result of an action that was applied before."""

    async def plan(self, request: ActionRequested, now_us: int) -> Plan | Refusal:
        """Return what would be done for a request, or why nothing."""

    async def plan_undo(
        self, done: ActionResult, request: ActionRequested, now_us: int
    ) -> Plan | Refusal:
        """Return how to take `done` back, or why it cannot be: it is not the latest change."""

    async def apply(self, plan: Plan, result: ActionResult) -> ActionResult:
        """Do what was planned and record `result`; return the result that stands for the action id.

        Raises:
            PreconditionError: the state is no longer the plan's; nothing was done.
            ServingError, OSError: it could not be done.
        """

    async def read_back(self, plan: Plan) -> ReadBack:
        """Return what stands now."""
