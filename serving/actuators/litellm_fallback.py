"""Give a model its fallbacks in a LiteLLM proxy, over its management API."""

from __future__ import annotations

import httpx

from schemas.action import ActionRequested
from schemas.settings import LiteLLMSettings
from serving.actuators.base import Refusal
from serving.actuators.ledger import ActionLedger
from serving.actuators.remote import RemoteLever, State, call, tls_for

__all__ = ["LiteLLMFallback", "litellm_client"]


def litellm_client(settings: LiteLLMSettings) -> httpx.AsyncClient:
    """Return a client of the proxy's management API."""
    return httpx.AsyncClient(
        base_url=settings.base_url,
        headers={"Authorization": f"Bearer {settings.master_key.get_secret_value()}"},
        timeout=settings.timeout_s,
        verify=tls_for(settings.base_url),
        trust_env=False,
    )


class LiteLLMFallback(RemoteLever):
    """Set the fallbacks of one model (`/fallback`), or take them away again."""

    name = "litellm_fallback"

    def __init__(self, ledger: ActionLedger, settings: LiteLLMSettings) -> None:
        super().__init__(ledger)
        self._settings = settings

    async def look(self) -> State:
        """Return the model's general fallbacks."""
        model = self._settings.model
        async with litellm_client(self._settings) as client:
            found = await call(client, "GET", f"fallback/{model}", missing={})
        models = found.get("fallback_models") if isinstance(found, dict) else None
        return {"model": model, "fallbacks": list(models or ())}

    async def decide(
        self,
        state: State,
        request: ActionRequested,
        now_us: int,  # noqa: ARG002 - no age speaks against it
    ) -> tuple[State, str] | Refusal:
        """Return the fallbacks of the settings, if the alert is about the model."""
        if refusal := about_model(request, self._settings):
            return refusal
        wanted = list(self._settings.fallback_models)
        if state["fallbacks"] == wanted:
            return Refusal(reason=f"{state['model']} falls back to {', '.join(wanted)} already")
        return {**state, "fallbacks": wanted}, f"{state['model']}: fall back to {', '.join(wanted)}"

    async def change(self, before: State, after: State, action_id: str) -> None:  # noqa: ARG002
        """Set the fallbacks; none are deleted."""
        model, wanted = after["model"], after["fallbacks"]
        async with litellm_client(self._settings) as client:
            if wanted:
                asked = {"model": model, "fallback_models": wanted, "fallback_type": "general"}
                await call(client, "POST", "fallback", json=asked)
            else:
                await call(client, "DELETE", f"fallback/{model}", missing={})


def about_model(request: ActionRequested, settings: LiteLLMSettings) -> Refusal | None:
    """Return why an alert is not about the proxy's model, or None if it is."""
    provider = request.labels.get("provider")
    model = request.labels.get("model")
    if model is None:
        return Refusal(reason="the alert has no label model: it does not say what is at fault")
    if provider is not None and settings.provider and provider != settings.provider:
        return Refusal(reason=f"the alert is about provider {provider}, not {settings.provider}")
    if model != settings.model:
        return Refusal(reason=f"the alert is about model {model}, not {settings.model}")
    return None
