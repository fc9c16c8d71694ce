"""The few calls to Kubernetes' API that scaling and undoing a rollout take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from schemas.settings import KubernetesSettings
from serving.actuators.remote import call, tls_for
from serving.errors import ActuatorError

__all__ = ["DeploymentApi"]

REVISION = "deployment.kubernetes.io/revision"


class DeploymentApi:
    """One Deployment and its ReplicaSets (apps/v1).

    The token of a service account is read anew for each use, because Kubernetes renews it.

    Args:
        settings: where the API is, how to enter, and which Deployment.
    """

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self.name = settings.deployment
        self._sets = f"/apis/apps/v1/namespaces/{settings.namespace}/replicasets"
        self._path = f"/apis/apps/v1/namespaces/{settings.namespace}/deployments/{self.name}"

    async def scale(self) -> dict[str, Any]:
        """Return the Deployment's Scale (autoscaling/v1)."""
        return await self._object("GET", f"{self._path}/scale")

    async def put_scale(self, scale: dict[str, Any]) -> None:
        """Replace the Scale; its resourceVersion is the precondition.

        Raises:
            PreconditionError: it has changed since it was read (409).
        """
        await self._object("PUT", f"{self._path}/scale", json=scale)

    async def deployment(self) -> dict[str, Any]:
        """Return the Deployment."""
        return await self._object("GET", self._path)

    async def put_deployment(self, deployment: dict[str, Any]) -> None:
        """Replace the Deployment; its resourceVersion is the precondition.

        Raises:
            PreconditionError: it has changed since it was read (409).
        """
        await self._object("PUT", self._path, json=deployment)

    async def revisions(self, deployment: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the pod templates of a Deployment's history by revision."""
        labels = deployment["spec"]["selector"].get("matchLabels") or {}
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        found = await self._object("GET", self._sets, params={"labelSelector": selector})
        uid = deployment["metadata"]["uid"]
        return {
            item["metadata"]["annotations"][REVISION]: item["spec"]["template"]
            for item in found.get("items", ())
            if any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences", ()))
            and REVISION in (item["metadata"].get("annotations") or {})
        }

    async def _object(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        async with self._client() as client:
            found = await call(client, method, path, **sent)
        if not isinstance(found, dict):
            raise ActuatorError(f"{method} {path}: no object of Kubernetes' API")
        return found

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        settings = self._settings
        token = settings.token.get_secret_value()
        try:
            if not token and settings.token_file is not None:
                token = (await asyncio.to_thread(settings.token_file.read_text)).strip()
            verify = tls_for(settings.api_url, settings.ca_file)
        except OSError as error:
            raise ActuatorError(f"Kubernetes' credentials cannot be read: {error}") from None
        async with httpx.AsyncClient(
            base_url=settings.api_url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=settings.timeout_s,
            verify=verify,
            trust_env=False,
        ) as client:
            yield client
