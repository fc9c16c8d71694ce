"""Scale a Deployment through its scale subresource, as `kubectl scale --current-replicas` does."""

from __future__ import annotations

from schemas.action import ActionRequested
from schemas.settings import KubernetesSettings
from serving.actuators.base import Refusal
from serving.actuators.kubernetes_api import DeploymentApi
from serving.actuators.ledger import ActionLedger
from serving.actuators.remote import RemoteLever, State
from serving.actuators.scaling import decide_replicas
from serving.errors import ActuatorError, PreconditionError

__all__ = ["KubernetesScale"]


class KubernetesScale(RemoteLever):
    """Raise the replicas of one Deployment; the replicas it had are the precondition."""

    name = "kubernetes_scale"

    def __init__(self, ledger: ActionLedger, settings: KubernetesSettings) -> None:
        super().__init__(ledger)
        self._settings = settings
        self._api = DeploymentApi(settings)

    async def look(self) -> State:
        """Return the Deployment and how many replicas it wants."""
        scale = await self._api.scale()
        replicas = scale.get("spec", {}).get("replicas", 0)
        if type(replicas) is not int:
            raise ActuatorError(f"deployment {self._api.name}: replicas is no number")
        return {"deployment": self._api.name, "replicas": replicas}

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
        summary = f"deployment {self._api.name}: {state['replicas']} -> {wanted} replicas"
        return {**state, "replicas": wanted}, summary

    async def change(self, before: State, after: State, action_id: str) -> None:  # noqa: ARG002
        """Set the replicas, if they are what they were."""
        scale = await self._api.scale()
        if scale.get("spec", {}).get("replicas", 0) != before["replicas"]:
            raise PreconditionError(f"deployment {self._api.name} was scaled by somebody else")
        scale["spec"] = {"replicas": after["replicas"]}
        scale.pop("status", None)
        await self._api.put_scale(scale)
