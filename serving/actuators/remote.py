"""Change one thing in another system over HTTP: what the levers outside the flag file share."""

from __future__ import annotations

import hashlib
import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson

from schemas.action import ActionRequested, ActionResult
from serving.actuators.base import Plan, ReadBack, Refusal
from serving.actuators.ledger import ActionLedger
from serving.errors import ActuatorError, PreconditionError

__all__ = ["RemoteLever", "State", "call", "tls_for"]

State = Mapping[str, Any]
"""What stands, in JSON's terms."""


class RemoteLever(ABC):
    """An actuator over HTTP; a subclass looks, decides and changes.

    The state that a plan was made for is compared before the change under the lever's lease, and
    again by the system itself where it can. The ledger knows what was begun, so that an executor
    that takes over after a crash finds out whether it took effect.

    Args:
        ledger: shared by all executors.
    """

    name: str

    def __init__(self, ledger: ActionLedger) -> None:
        self._ledger = ledger

    @abstractmethod
    async def look(self) -> State:
        """Return what stands.

        Raises:
            ActuatorError: it cannot be found out.
        """

    @abstractmethod
    async def decide(
        self, state: State, request: ActionRequested, now_us: int
    ) -> tuple[State, str] | Refusal:
        """Return what shall stand and what that is in words, or why nothing will be done."""

    @abstractmethod
    async def change(self, before: State, after: State, action_id: str) -> None:
        """Make `after` stand where `before` stands.

        Raises:
            PreconditionError: something else stands by now; nothing was done.
            ActuatorError: it did not work.
        """

    def same(self, state: State, wanted: State) -> bool:
        """Tell whether `state` is what an action wanted."""
        return dict(state) == dict(wanted)

    async def recorded(self, action_id: str) -> ActionResult | None:
        """Return the result of an action that has taken effect, as the ledger and a look tell."""
        entry = await self._ledger.entry(action_id)
        if entry is None or entry.result.actuator != self.name:
            return None
        if entry.done:
            return entry.result
        if self.same(await self.look(), entry.result.after):
            await self._ledger.finish(entry.result)
            return entry.result
        return None

    async def plan(self, request: ActionRequested, now_us: int) -> Plan | Refusal:
        """Return what a request asks for, or why nothing will be done."""
        state = await self.look()
        decision = await self.decide(state, request, now_us)
        if isinstance(decision, Refusal):
            return decision
        after, summary = decision
        return self._plan(state, after, summary, request, now_us)

    async def plan_undo(
        self, done: ActionResult, request: ActionRequested, now_us: int
    ) -> Plan | Refusal:
        """Return the way back, unless something else stands by now."""
        if not done.inverse:
            return Refusal(reason=f"{done.action_id} has left no way back")
        state = await self.look()
        if not self.same(state, done.after):
            return Refusal(
                reason=f"{self.name} was changed since: {_short(state)} instead of "
                f"{_short(done.after)}"
            )
        summary = f"{_short(state)} -> {_short(done.inverse)}"
        return self._plan(state, done.inverse, summary, request, now_us)

    async def apply(self, plan: Plan, result: ActionResult) -> ActionResult:
        """Do what was planned, once for each action id, and enter it into the ledger.

        Raises:
            PreconditionError: the state is no longer the plan's; nothing was done.
            ActuatorError, OSError: it could not be done.
        """
        async with self._ledger.lease(self.name):
            if (standing := await self.recorded(plan.action_id)) is not None:
                return standing
            if _digest(await self.look()) != plan.expected:
                raise PreconditionError(f"{self.name}: changed since it was looked at")
            await self._ledger.begin(result)
            try:
                await self.change(plan.before, plan.after, plan.action_id)
            except PreconditionError:
                await self._ledger.forget(plan.action_id)
                raise
            await self._ledger.finish(result)
            return result

    async def read_back(self, plan: Plan) -> ReadBack:
        """Return what stands now."""
        try:
            found = await self.look()
        except ActuatorError as error:
            return ReadBack(confirmed=False, found={}, reason=str(error))
        confirmed = self.same(found, plan.after)
        return ReadBack(confirmed=confirmed, found=dict(found), reason=f"it is {_short(found)}")

    def _plan(
        self, before: State, after: State, summary: str, request: ActionRequested, now_us: int
    ) -> Plan:
        return Plan(
            action_id=request.action_id,
            actuator=self.name,
            summary=summary,
            before=dict(before),
            after=dict(after),
            inverse=dict(before),
            expected=_digest(before),
            at_us=now_us,
        )


def _digest(state: State) -> str:
    return hashlib.sha256(orjson.dumps(dict(state), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _short(state: State) -> str:
    text = orjson.dumps(dict(state)).decode()
    return text if len(text) <= 200 else text[:200] + "..."


def tls_for(url: str, ca_file: Path | None = None) -> ssl.SSLContext:
    """Return the TLS settings for a system; without TLS the certificates need not be loaded.

    Raises:
        OSError: the file of authorities cannot be read.
    """
    if url.startswith("https:"):
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def call(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    missing: Any = None,
    **sent: Any,
) -> Any:
    """Return the JSON that a system answers; its own words reach the error, nothing secret does.

    Args:
        client: with the system's address and credentials.
        method: of the request.
        url: of the request.
        missing: returned for 404 unless None.
        sent: for httpx.

    Raises:
        PreconditionError: 409 or 412, the system's own compare-and-set.
        ActuatorError: any other answer that is no success, or none.
    """
    try:
        answer = await client.request(method, url, **sent)
    except httpx.HTTPError as error:
        raise ActuatorError(
            f"{client.base_url.host}: {method} {url}: {type(error).__name__}"
        ) from None
    if answer.status_code == 404 and missing is not None:
        return missing
    if answer.status_code in (409, 412):
        raise PreconditionError(f"{method} {url}: {_words(answer)}")
    if not answer.is_success:
        raise ActuatorError(f"{method} {url}: {answer.status_code}: {_words(answer)}")
    try:
        return answer.json() if answer.content else None
    except ValueError:
        return answer.text


def _words(answer: httpx.Response) -> str:
    """Return what an error says, in the shapes that these systems use."""
    try:
        data = answer.json()
    except ValueError:
        return answer.text[:300]
    if isinstance(data, dict):
        error = data.get("error")
        inner = error.get("message") if isinstance(error, dict) else error
        return str(data.get("message") or inner or data.get("detail") or data)[:300]
    return str(data)[:300]
