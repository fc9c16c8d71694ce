"""Take one request through an actuator: plan, precondition, apply, read back, result."""

from __future__ import annotations

import orjson

from schemas.action import ActionRequested, ActionResult, ActionStatus
from schemas.base import SCHEMA_VERSION
from serving.actuators.base import Actuator, Plan, Refusal
from serving.errors import PreconditionError, ServingError

__all__ = ["carry_out", "result_of"]

_WITH_INVERSE = frozenset({ActionStatus.APPLIED, ActionStatus.PLANNED})

ATTEMPTS = 3
"""Plans made anew when somebody else changed the state in between."""


async def carry_out(
    actuator: Actuator,
    request: ActionRequested,
    *,
    now_us: int,
    executor: str,
    dry_run: bool = False,
    undo: ActionResult | None = None,
) -> ActionResult:
    """Carry out a request, once for each action id; a fault becomes a result, not an exception.

    Args:
        actuator: the lever.
        request: what is asked.
        now_us: UTC microseconds, for the plan and the result.
        executor: who acts, for the audit.
        dry_run: stop after the plan, as the request itself may ask as well. A request for a plan
            stops there, too, and one that was approved where the plan is another by now.
        undo: the result to take back, instead of acting anew.
    """

    def result(status: ActionStatus, reason: str, plan: Plan | None = None) -> ActionResult:
        return result_of(
            request,
            status,
            reason,
            actuator=actuator.name,
            executor=executor,
            now_us=now_us,
            plan=plan,
        )

    plan: Plan | Refusal | None = None
    try:
        if (before := await actuator.recorded(request.action_id)) is not None:
            return before
        for _ in range(ATTEMPTS):
            if undo is None:
                plan = await actuator.plan(request, now_us)
            else:
                plan = await actuator.plan_undo(undo, request, now_us)
            if isinstance(plan, Refusal):
                # Perhaps another executor has just done it, and that is why nothing is left to do.
                standing = await actuator.recorded(request.action_id)
                return standing or result(ActionStatus.REFUSED, plan.reason)
            if dry_run or request.dry_run:
                return result(ActionStatus.DRY_RUN, f"would have: {plan.summary}", plan)
            if request.plans is not None:
                return result(ActionStatus.PLANNED, plan.summary, plan)
            if undo is None and not _as_granted(plan, request):
                return result(
                    ActionStatus.REFUSED,
                    f"what was approved no longer stands: it would be {plan.summary} now",
                )
            done = result(ActionStatus.APPLIED, f"{plan.summary}; {request.reason}", plan)
            try:
                applied = await actuator.apply(plan, done)
            except PreconditionError:
                continue
            back = await actuator.read_back(plan)
            if not back.confirmed:
                return result(ActionStatus.FAILED, f"not confirmed: {back.reason}", plan)
            return applied
    except (ServingError, OSError) as error:
        return await _after_fault(actuator, request, result(ActionStatus.FAILED, str(error)))
    return result(ActionStatus.REFUSED, "the state was changed by others at every attempt")


def _as_granted(plan: Plan, request: ActionRequested) -> bool:
    """Tell whether a plan is the one that was approved, where one was."""
    granted = request.granted
    if granted is None:
        return True
    inverse = orjson.loads(orjson.dumps(plan.inverse))  # as it came back from people
    return plan.summary == granted.does and inverse == granted.inverse


async def _after_fault(
    actuator: Actuator, request: ActionRequested, failed: ActionResult
) -> ActionResult:
    """Return the recorded result if the action took effect before the fault, else the failure."""
    try:
        return await actuator.recorded(request.action_id) or failed
    except (ServingError, OSError):
        return failed


def result_of(
    request: ActionRequested,
    status: ActionStatus,
    reason: str,
    *,
    actuator: str,
    executor: str,
    now_us: int,
    plan: Plan | None = None,
) -> ActionResult:
    """Return the result of a request; without a plan nothing stands before or after."""
    return ActionResult(
        schema_version=SCHEMA_VERSION,
        action_id=request.action_id,
        kind=request.kind,
        fingerprint=request.fingerprint,
        incident_id=request.incident_id,
        status=status,
        actuator=actuator,
        reason=reason,
        before=plan.before if plan else {},
        after=plan.after if plan else {},
        inverse=plan.inverse if plan and status in _WITH_INVERSE else {},
        executor=executor,
        at_us=now_us,
    )
