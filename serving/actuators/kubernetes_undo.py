"""Undo a rollout to the revision that is named as good, as `kubectl rollout undo --to-revision`."""

from __future__ import annotations

import hashlib
from copy import deepcopy
from typing import Any, Final

import orjson

from schemas.action import ActionRequested
from schemas.settings import KubernetesSettings
from serving.actuators.base import Refusal
from serving.actuators.kubernetes_api import REVISION, DeploymentApi
from serving.actuators.ledger import ActionLedger
from serving.actuators.remote import RemoteLever, State
from serving.errors import ActuatorError

__all__ = ["GOOD_REVISION", "MODEL_VERSION", "KubernetesUndo"]

GOOD_REVISION: Final = "tocsin.dev/good-revision"
"""The annotation of a Deployment that names the revision to go back to."""
MODEL_VERSION: Final = "tocsin.dev/model-version"
"""The annotation of a pod template that says which model version it serves."""
_HASH_LABEL: Final = "pod-template-hash"


class KubernetesUndo(RemoteLever):
    """Give a Deployment the pod template of its good revision.

    A bare undo would toggle between the last two revisions, the bad one among them; this one goes
    where the Deployment's annotation `tocsin.dev/good-revision` says, or nowhere. What stands is
    known by a hash of the pod template, because revisions are numbered anew when they return.
    """

    name = "kubernetes_undo"

    def __init__(self, ledger: ActionLedger, settings: KubernetesSettings) -> None:
        super().__init__(ledger)
        self._api = DeploymentApi(settings)

    async def look(self) -> State:
        """Return the pod template that is rolled out, as a hash."""
        return self._state((await self._api.deployment())["spec"]["template"])

    async def decide(
        self,
        state: State,
        request: ActionRequested,
        now_us: int,  # noqa: ARG002 - a revision is named as good by a person, whatever its age
    ) -> tuple[State, str] | Refusal:
        """Return the template of the good revision, if the alert is about what is rolled out."""
        deployment = await self._api.deployment()
        annotations = deployment["metadata"].get("annotations") or {}
        serves = _version(deployment["spec"]["template"])
        blamed = request.labels.get("model_version")
        if blamed is None:
            return Refusal(reason="the alert has no label model_version")
        if serves is None:
            return Refusal(reason=f"the pods have no annotation {MODEL_VERSION}")
        if blamed != serves:
            return Refusal(
                reason=f"the alert is about model_version {blamed}, but {serves} is rolled out"
            )
        if deployment["spec"].get("paused"):
            return Refusal(reason="the rollout is paused: somebody works on it")
        good = annotations.get(GOOD_REVISION)
        if good is None:
            return Refusal(reason=f"no revision is named as good by {GOOD_REVISION}")
        template = (await self._api.revisions(deployment)).get(good)
        if template is None:
            return Refusal(reason=f"revision {good} is not in the Deployment's history any more")
        after = self._state(template)
        if after == state:
            return Refusal(reason=f"revision {good}, the good one, is rolled out already")
        now = annotations.get(REVISION, "?")
        return after, f"deployment {self._api.name}: revision {now} -> {good}"

    async def change(self, before: State, after: State, action_id: str) -> None:  # noqa: ARG002
        """Put the template into the Deployment, whose resourceVersion is the precondition."""
        deployment = await self._api.deployment()
        templates = (await self._api.revisions(deployment)).values()
        template = next((t for t in templates if self._state(t) == after), None)
        if template is None:
            raise ActuatorError(f"deployment {self._api.name}: the revision has left its history")
        deployment["spec"]["template"] = _bare(template)
        deployment.pop("status", None)
        await self._api.put_deployment(deployment)

    def _state(self, template: dict[str, Any]) -> State:
        data = orjson.dumps(_bare(template), option=orjson.OPT_SORT_KEYS)
        return {
            "deployment": self._api.name,
            "template": hashlib.sha256(data).hexdigest(),
            "model_version": _version(template),
        }


def _bare(template: dict[str, Any]) -> dict[str, Any]:
    """Return a template without what the Deployment's controller adds to it."""
    bare = deepcopy(template)
    metadata = bare.get("metadata", {})
    metadata.pop("creationTimestamp", None)
    if labels := metadata.get("labels"):
        labels.pop(_HASH_LABEL, None)
    return bare


def _version(template: dict[str, Any]) -> str | None:
    metadata = template.get("metadata") or {}
    found = (metadata.get("annotations") or {}).get(MODEL_VERSION)
    return found if isinstance(found, str) else None
