"""Set one flag to another of its variants: the common part of rollback and fallback."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from schemas.action import ActionKind, ActionRequested, ActionResult
from schemas.flag import FlagKey
from serving.actuators.base import Plan, ReadBack, Refusal
from serving.errors import FlagConflictError, FlagFileError, PreconditionError
from serving.flags.document import Flag, FlagDocument, parse_document
from serving.flags.history import ChangeKind
from serving.flags.reader import evaluate
from serving.flags.store import FlagStore, adopted

__all__ = ["FlagSwitch", "about_another", "unswitchable"]


class FlagSwitch(ABC):
    """An actuator that flips one flag; a subclass decides to what.

    The flag file holds the ledger of applied actions, so that flag and record change in one rename.
    """

    name: str
    key: FlagKey
    change: ChangeKind

    def __init__(self, store: FlagStore) -> None:
        self._store = store

    @abstractmethod
    def decide(
        self, document: FlagDocument, request: ActionRequested, now_us: int
    ) -> str | Refusal:
        """Return the variant to set, or why none: a pure function of its arguments."""

    async def recorded(self, action_id: str) -> ActionResult | None:
        """Return the result of an action that the ledger knows."""
        return (await self._read()).action(action_id)

    async def plan(self, request: ActionRequested, now_us: int) -> Plan | Refusal:
        """Return the switch that a request asks for, or why there will be none."""
        read = await self._read()
        document = adopted(read, now_us)
        decision = self.decide(document, request, now_us)
        if isinstance(decision, Refusal):
            return decision
        return self._plan(document, read.digest, decision, request, now_us)

    async def plan_undo(
        self, done: ActionResult, request: ActionRequested, now_us: int
    ) -> Plan | Refusal:
        """Return the switch back, unless the flag was changed again since."""
        read = await self._read()
        document = adopted(read, now_us)
        if self.key not in document.flags or done.inverse.get("flag") != self.key:
            return Refusal(reason=f"{done.action_id} has left no way back for {self.key}")
        flag = document.flag(self.key)
        last = flag.history[-1]
        if last.action_id != done.action_id:
            return Refusal(
                reason=f"{self.key} was changed since by {last.by} to {last.variant}: {last.reason}"
            )
        before = str(done.inverse.get("variant"))
        if before not in flag.variants:
            return Refusal(reason=f"{self.key} has no variant {before} any more")
        return self._plan(document, read.digest, before, request, now_us)

    async def apply(self, plan: Plan, result: ActionResult) -> ActionResult:
        """Switch the flag and enter the result into the ledger, in one atomic write.

        Raises:
            PreconditionError: the file is no longer the plan's.
            FlagError, OSError: it could not be read or written.
        """
        kind = ChangeKind.UNDO if result.kind is ActionKind.UNDO else self.change

        def switch(present: FlagDocument) -> FlagDocument:
            return adopted(present, plan.at_us).switched(
                self.key,
                str(plan.after["variant"]),
                kind=kind,
                at_us=plan.at_us,
                by=result.executor,
                reason=result.reason,
                action=result,
            )

        try:
            await asyncio.to_thread(self._store.update, switch, expected=plan.expected)
        except FlagConflictError as error:
            if (standing := await self.recorded(plan.action_id)) is not None:
                return standing
            raise PreconditionError(str(error)) from None
        return result

    async def read_back(self, plan: Plan) -> ReadBack:
        """Return what a reader of the file gets now, through OpenFeature's own evaluation."""
        try:
            data = await asyncio.to_thread(self._store.path.read_bytes)
            document = parse_document(data, str(self._store.path))
        except (FlagFileError, OSError) as error:
            return ReadBack(confirmed=False, found={}, reason=str(error))
        value = evaluate(data, self.key)
        found: dict[str, Any] = {"flag": self.key, "value": value, "revision": document.revision}
        if document.action(plan.action_id) is None:
            return ReadBack(confirmed=False, found=found, reason="the ledger lacks the action")
        if value != plan.after["value"] and document.revision <= plan.after["revision"]:
            return ReadBack(confirmed=False, found=found, reason=f"{self.key} reads {value!r}")
        return ReadBack(confirmed=True, found=found, reason=f"{self.key} reads {value!r}")

    def _plan(
        self,
        document: FlagDocument,
        digest: str,
        variant: str,
        request: ActionRequested,
        now_us: int,
    ) -> Plan:
        flag = document.flag(self.key)
        return Plan(
            action_id=request.action_id,
            actuator=self.name,
            summary=f"{self.key}: {flag.variant} -> {variant}",
            before=_side(flag, flag.variant, document.revision),
            after=_side(flag, variant, document.revision + 1),
            inverse={"flag": self.key, "variant": flag.variant},
            expected=digest,
            at_us=now_us,
        )

    async def _read(self) -> FlagDocument:
        return await asyncio.to_thread(self._store.read)


def _side(flag: Flag, variant: str, revision: int) -> dict[str, Any]:
    value = flag.variants[variant]
    return {"flag": flag.key, "variant": variant, "value": value, "revision": revision}


def unswitchable(document: FlagDocument, key: FlagKey) -> Refusal | None:
    """Return why a flag's default is not the last word on what serving does, or None if it is."""
    if key not in document.flags:
        return Refusal(reason=f"the flag file has no flag {key}")
    flag = document.flag(key)
    if not flag.enabled:
        return Refusal(reason=f"{key} is disabled: serving does not obey it")
    if flag.targeted:
        return Refusal(
            reason=f"{key} has targeting rules: its default variant alone does not decide"
        )
    return None


def about_another(flag: Flag, request: ActionRequested, label: str) -> Refusal | None:
    """Return why the alert is not about what is in force, or None if it is."""
    blamed = request.labels.get(label)
    if blamed is None:
        return Refusal(reason=f"the alert has no label {label}: it does not say what is at fault")
    if blamed != flag.value:
        return Refusal(
            reason=f"the alert is about {label} {blamed}, but {flag.value} is in force: "
            "somebody has acted already"
        )
    return None
