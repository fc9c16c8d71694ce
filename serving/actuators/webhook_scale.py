"""Scale by a webhook of the operator's own, signed with HMAC.

The receiver keeps three promises (docs/actuators.md describes it):
`GET URL` answers `{"replicas": 3, "revision": "7"}`; `POST URL` with `{"action_id", "expected",
"replicas", ...}` sets them if the revision is still the expected one, else answers 409, and does
nothing when it knows the action id already. Each request carries `X-Tocsin-Timestamp` (UTC seconds)
and `X-Tocsin-Signature: sha256=HMAC(secret, timestamp + "." + body)`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import httpx
import orjson

from schemas.action import ActionRequested
from schemas.settings import ScaleWebhookSettings
from serving.actuators.base import Refusal
from serving.actuators.ledger import ActionLedger
from serving.actuators.remote import RemoteLever, State, call, tls_for
from serving.actuators.scaling import decide_replicas
from serving.errors import ActuatorError

__all__ = ["WebhookScale", "sign"]


def sign(secret: bytes, timestamp: int, body: bytes) -> str:
    """Return the signature of a request (HMAC-SHA256, RFC 2104)."""
    return f"sha256={hmac.new(secret, b'%d.' % timestamp + body, hashlib.sha256).hexdigest()}"


class WebhookScale(RemoteLever):
    """Raise replicas through a webhook.

    Args:
        ledger: shared by all executors.
        settings: address, secret and bounds.
        now_s: UTC seconds, for the signature.
    """

    name = "webhook_scale"

    def __init__(
        self, ledger: ActionLedger, settings: ScaleWebhookSettings, *, now_s: Callable[[], float]
    ) -> None:
        super().__init__(ledger)
        self._settings = settings
        self._now_s = now_s

    async def look(self) -> State:
        """Return how many replicas the receiver says there are, and at which revision."""
        found = await self._call("GET", b"")
        replicas, revision = found.get("replicas"), found.get("revision")
        if type(replicas) is not int or not isinstance(revision, str):
            raise ActuatorError(f"{self._settings.url}: answers no replicas and revision")
        return {"replicas": replicas, "revision": revision}

    def same(self, state: State, wanted: State) -> bool:
        """Tell whether the replicas are those wanted; the revision is the receiver's own."""
        return bool(state["replicas"] == wanted["replicas"])

    async def decide(
        self, state: State, request: ActionRequested, now_us: int
    ) -> tuple[State, str] | Refusal:
        """Return how many replicas there shall be."""
        settings = self._settings
        wanted = decide_replicas(
            state["replicas"],
            request,
            now_us,
            factor=settings.scale_factor,
            most=settings.max_replicas,
            settle_s=settings.settle_s,
            last=await self._ledger.latest(self.name),
            serves=settings.serves,
        )
        if isinstance(wanted, Refusal):
            return wanted
        return {**state, "replicas": wanted}, f"{state['replicas']} -> {wanted} replicas"

    async def change(self, before: State, after: State, action_id: str) -> None:
        """Ask the receiver, with the revision as the precondition."""
        asked = {
            "action_id": action_id,
            "expected": before["revision"],
            "from": before["replicas"],
            "replicas": after["replicas"],
        }
        await self._call("POST", orjson.dumps(asked))

    async def _call(self, method: str, body: bytes) -> dict[str, object]:
        settings = self._settings
        timestamp = int(self._now_s())
        secret = settings.secret.get_secret_value().encode()
        headers = {
            "Content-Type": "application/json",
            "X-Tocsin-Timestamp": str(timestamp),
            "X-Tocsin-Signature": sign(secret, timestamp, body),
        }
        async with httpx.AsyncClient(
            timeout=settings.timeout_s, verify=tls_for(settings.url), trust_env=False
        ) as client:
            found = await call(client, method, settings.url, content=body or None, headers=headers)
        return found if isinstance(found, dict) else {}
