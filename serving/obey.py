"""Decide what becomes of one requested action, without knowing where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from schemas.action import (
    ActionKind,
    ActionMode,
    ActionRequested,
    ActionResult,
    ActionStatus,
    strictest,
)
from serving.actuators.base import Actuator
from serving.actuators.carry_out import carry_out, result_of
from serving.actuators.freeze import frozen
from serving.errors import ServingError
from serving.granted import Decisions, why_not_granted

__all__ = ["Obedience"]


class Obedience:
    """Answers requests with results: known, frozen, stale, impossible, or carried out.

    Args:
        levers: the actuator for each kind.
        data_dir: where the kill switch lies.
        executor: who acts, for the audit.
        request_age_s: older requests are refused.
        dry_run: plan everything and apply nothing.
        modes: at least so strictly each kind is dealt with, whatever a request says of itself.
        decisions: looks what people decided; without it nothing counts as approved.
    """

    def __init__(
        self,
        levers: Mapping[ActionKind, Actuator],
        *,
        data_dir: Path,
        executor: str,
        request_age_s: float,
        dry_run: bool = False,
        modes: Mapping[ActionKind, ActionMode] | None = None,
        decisions: Decisions | None = None,
    ) -> None:
        self._levers = levers
        self._data_dir = data_dir
        self._executor = executor
        self._request_age_s = request_age_s
        self._dry_run = dry_run
        self._modes = modes or {}
        self._decisions = decisions

    async def answer(self, request: ActionRequested, now_us: int) -> ActionResult:
        """Return the result of a request; an action that was applied before is only told again.

        Raises:
            KafkaError: what people decided cannot be read; nothing was done.
        """
        try:
            before = await _recorded(self._asked(request.kind), request.action_id)
        except (ServingError, OSError) as error:
            return self._result(request, now_us, str(error), ActionStatus.FAILED)
        if before is not None:
            return before
        if (reason := self._forbidden(request, now_us)) is not None:
            return self._result(request, now_us, reason)
        if request.kind is ActionKind.UNDO:
            return await self._undo(request, now_us)
        lever = self._levers.get(request.kind)
        if lever is None:
            return self._result(
                request, now_us, f"nothing here can {request.kind}: a human has to do it"
            )
        if self._mode(request) is ActionMode.REQUIRED and request.plans is None:
            decisions = await self._decisions(request.action_id) if self._decisions else ()
            if (why := why_not_granted(request, decisions)) is not None:
                return self._result(request, now_us, f"not approved: {why}")
        return await self._carry_out(lever, request, now_us)

    def _mode(self, request: ActionRequested) -> ActionMode:
        return strictest(request.mode, self._modes.get(request.kind, ActionMode.AUTOMATIC))

    @property
    def _actuators(self) -> list[Actuator]:
        return list(self._levers.values())

    def _asked(self, kind: ActionKind) -> list[Actuator]:
        """Return the levers that may know an action: its own, so no other can stand in its way.

        Any lever may have undone something.
        """
        own = self._levers.get(kind)
        return [own] if own is not None else self._actuators

    def _forbidden(self, request: ActionRequested, now_us: int) -> str | None:
        if (why := frozen(self._data_dir)) is not None:
            return f"actions are frozen: {why}"
        age_s = (now_us - request.requested_at_us) / 1e6
        if age_s > self._request_age_s:
            return (
                f"asked {age_s:.0f} s ago, longer than {self._request_age_s:.0f} s: "
                "what it was asked for may be over"
            )
        return None

    async def _undo(self, request: ActionRequested, now_us: int) -> ActionResult:
        if not request.undoes:
            return self._result(request, now_us, "does not say which action to undo")
        try:
            done = await _recorded(self._actuators, request.undoes)
        except (ServingError, OSError) as error:
            return self._result(request, now_us, str(error), ActionStatus.FAILED)
        lever = next((a for a in self._actuators if done and a.name == done.actuator), None)
        if done is None or lever is None:
            return self._result(request, now_us, f"no record that {request.undoes} was applied")
        return await self._carry_out(lever, request, now_us, undo=done)

    async def _carry_out(
        self,
        lever: Actuator,
        request: ActionRequested,
        now_us: int,
        undo: ActionResult | None = None,
    ) -> ActionResult:
        return await carry_out(
            lever,
            request,
            now_us=now_us,
            executor=self._executor,
            dry_run=self._dry_run or (undo is None and self._mode(request) is ActionMode.DRY_RUN),
            undo=undo,
        )

    def _result(
        self,
        request: ActionRequested,
        now_us: int,
        reason: str,
        status: ActionStatus = ActionStatus.REFUSED,
    ) -> ActionResult:
        return result_of(
            request, status, reason, actuator="none", executor=self._executor, now_us=now_us
        )


async def _recorded(actuators: Iterable[Actuator], action_id: str) -> ActionResult | None:
    """Return what a lever has recorded of an action.

    Raises:
        ServingError, OSError: none of those that can be read knows it, and one cannot be read.
    """
    unread: ServingError | OSError | None = None
    for actuator in actuators:
        try:
            result = await actuator.recorded(action_id)
        except (ServingError, OSError) as error:
            unread = unread or error
            continue
        if result is not None:
            return result
    if unread is not None:
        raise unread
    return None
