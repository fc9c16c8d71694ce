"""Limit a key of a LiteLLM proxy, over its management API."""

from __future__ import annotations

from schemas.action import ActionRequested
from schemas.settings import LiteLLMSettings
from serving.actuators.base import Refusal
from serving.actuators.ledger import ActionLedger
from serving.actuators.litellm_fallback import about_model, litellm_client
from serving.actuators.remote import RemoteLever, State, call
from serving.errors import ActuatorError

__all__ = ["LiteLLMLimit"]


class LiteLLMLimit(RemoteLever):
    """Set requests a minute of one key (`/key/update`), known by its hash."""

    name = "litellm_limit"

    def __init__(self, ledger: ActionLedger, settings: LiteLLMSettings) -> None:
        super().__init__(ledger)
        self._settings = settings

    async def look(self) -> State:
        """Return the key's present limit; None is no limit."""
        key = self._settings.key_hash
        async with litellm_client(self._settings) as client:
            found = await call(client, "GET", "key/info", params={"key": key})
        info = found.get("info") if isinstance(found, dict) else None
        if not isinstance(info, dict):
            raise ActuatorError(f"{self._settings.base_url}: answers nothing about the key")
        return {"key": key, "rpm_limit": info.get("rpm_limit")}

    async def decide(
        self,
        state: State,
        request: ActionRequested,
        now_us: int,  # noqa: ARG002 - no age speaks against it
    ) -> tuple[State, str] | Refusal:
        """Return the limit of the settings, unless there is a tighter one."""
        if refusal := about_model(request, self._settings):
            return refusal
        wanted, present = self._settings.rpm_limit, state["rpm_limit"]
        if isinstance(present, int) and present <= wanted:
            return Refusal(reason=f"the key is limited to {present} requests a minute already")
        return {**state, "rpm_limit": wanted}, f"limit the key to {wanted} requests a minute"

    async def change(self, before: State, after: State, action_id: str) -> None:  # noqa: ARG002
        """Set the limit."""
        async with litellm_client(self._settings) as client:
            asked = {"key": after["key"], "rpm_limit": after["rpm_limit"]}
            await call(client, "POST", "key/update", json=asked)
