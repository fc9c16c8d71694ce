"""Unload a LoRA adapter from vLLM, and load it again: an adapter is a model version in place."""

from __future__ import annotations

import httpx

from schemas.action import ActionRequested
from schemas.settings import AdapterSettings
from serving.actuators.base import Refusal
from serving.actuators.ledger import ActionLedger
from serving.actuators.remote import RemoteLever, State, call, tls_for
from serving.errors import ActuatorError

__all__ = ["AdapterUnload"]


class AdapterUnload(RemoteLever):
    """Unload the adapter that an alert is about; the undo loads it from where it came.

    vLLM needs `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=1`. Requests for the adapter
    get 404 from then on, which sends them to the next target of a gateway's chain.
    """

    name = "adapter_unload"

    def __init__(self, ledger: ActionLedger, settings: AdapterSettings) -> None:
        super().__init__(ledger)
        self._settings = settings

    async def look(self) -> State:
        """Return the adapters that are loaded, with the paths that they came from."""
        async with self._client() as client:
            found = await call(client, "GET", "v1/models")
        models = found.get("data") if isinstance(found, dict) else None
        if not isinstance(models, list):
            raise ActuatorError(f"{self._settings.base_url}: answers no list of models")
        return {
            "adapters": {
                str(model["id"]): str(model.get("root"))
                for model in models
                if isinstance(model, dict) and model.get("parent") and "id" in model
            }
        }

    async def decide(
        self,
        state: State,
        request: ActionRequested,
        now_us: int,  # noqa: ARG002 - no age speaks against it
    ) -> tuple[State, str] | Refusal:
        """Return the adapters without the one at fault."""
        blamed = request.labels.get("model_version")
        adapters = dict(state["adapters"])
        if blamed is None:
            return Refusal(reason="the alert has no label model_version")
        if blamed not in adapters:
            loaded = ", ".join(adapters) or "none"
            return Refusal(reason=f"no adapter {blamed} is loaded (loaded: {loaded})")
        del adapters[blamed]
        return {"adapters": adapters}, f"unload adapter {blamed}"

    async def change(self, before: State, after: State, action_id: str) -> None:  # noqa: ARG002
        """Unload what is too much and load what is missing."""
        old, new = before["adapters"], after["adapters"]
        async with self._client() as client:
            for name in old.keys() - new.keys():
                asked = {"lora_name": name}
                await call(client, "POST", "v1/unload_lora_adapter", json=asked)
            for name in new.keys() - old.keys():
                asked = {"lora_name": name, "lora_path": new[name]}
                await call(client, "POST", "v1/load_lora_adapter", json=asked)

    def _client(self) -> httpx.AsyncClient:
        settings = self._settings
        key = settings.api_key.get_secret_value()
        return httpx.AsyncClient(
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=settings.timeout_s,
            verify=tls_for(settings.base_url),
            trust_env=False,
        )
