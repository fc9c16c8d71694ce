"""Real HTTP servers that keep to what the APIs of other systems document, faults on demand."""

from __future__ import annotations

import copy
import hmac
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from serving.actuators.webhook_scale import sign

__all__ = ["Adapters", "Kubernetes", "LiteLLM", "System", "Webhook", "running_system"]

REVISION = "deployment.kubernetes.io/revision"


class System(ABC):
    """A server: its state, and what is wrong with it."""

    def __init__(self) -> None:
        self.url = ""
        self.down = False
        self.loses = False
        """Answers that all is well, and does nothing."""
        self.writes = 0
        """Changes that took effect."""

    @abstractmethod
    def state(self) -> bytes:
        """Return what stands."""

    @abstractmethod
    def meddle(self) -> None:
        """Change what stands, as somebody else would."""

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Return the API."""


def _status(code: int, reason: str, message: str) -> web.Response:
    """Return an error as Kubernetes writes it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}
    return web.json_response({**body, "reason": reason, "code": code}, status=code)


def template(version: str, image: str, pod_hash: str = "") -> dict[str, Any]:
    labels = {"app": "llm"} | ({"pod-template-hash": pod_hash} if pod_hash else {})
    annotations = {"tocsin.dev/model-version": version}
    return {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "vllm", "image": image}]},
    }


class Kubernetes(System):
    """Deployments and ReplicaSets with optimistic concurrency (apps/v1, autoscaling/v1)."""

    TOKEN = "a-token"

    def __init__(self) -> None:
        super().__init__()
        self.version = 100
        self.deployment: dict[str, Any] = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "llm",
                "namespace": "prod",
                "uid": "uid-1",
                "annotations": {REVISION: "2", "tocsin.dev/good-revision": "1"},
            },
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "llm"}},
                "template": template("v2", "llm:2"),
            },
            "status": {"replicas": 3},
        }
        self.sets = [
            self._set("1", template("v1", "llm:1", "aaa")),
            self._set("2", template("v2", "llm:2", "bbb")),
            self._set("9", template("v9", "other:9", "ccc"), owner="uid-other"),
        ]

    def _set(self, revision: str, pods: dict[str, Any], owner: str = "uid-1") -> dict[str, Any]:
        return {
            "metadata": {
                "annotations": {REVISION: revision},
                "ownerReferences": [{"kind": "Deployment", "uid": owner}],
            },
            "spec": {"template": pods},
        }

    def state(self) -> bytes:
        return orjson.dumps(self.deployment["spec"], option=orjson.OPT_SORT_KEYS)

    def meddle(self) -> None:
        self.version += 1
        self.deployment["spec"]["replicas"] += 1
        self.deployment["spec"]["template"]["spec"]["containers"][0]["image"] += "-hotfix"

    def status_changes(self) -> None:
        """Let the controller write the status: the version moves, the spec does not."""
        self.version += 1

    def routes(self) -> list[web.RouteDef]:
        base = "/apis/apps/v1/namespaces/prod"
        return [
            web.get(f"{base}/deployments/llm", self._get),
            web.put(f"{base}/deployments/llm", self._put),
            web.get(f"{base}/deployments/llm/scale", self._get_scale),
            web.put(f"{base}/deployments/llm/scale", self._put_scale),
            web.get(f"{base}/replicasets", self._list),
        ]

    def _denied(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {self.TOKEN}":
            return _status(401, "Unauthorized", "Unauthorized")
        return None

    def _stale(self, sent: dict[str, Any]) -> web.Response | None:
        found = sent["metadata"].get("resourceVersion")
        if found and found != str(self.version):
            text = 'Operation cannot be fulfilled on deployments.apps "llm": the object has been '
            return _status(409, "Conflict", text + "modified; please apply your changes to it")
        return None

    async def _get(self, request: web.Request) -> web.Response:
        if denied := self._denied(request):
            return denied
        shown = copy.deepcopy(self.deployment)
        shown["metadata"]["resourceVersion"] = str(self.version)
        return web.json_response(shown)

    async def _put(self, request: web.Request) -> web.Response:
        sent = await request.json()
        if refused := self._denied(request) or self._stale(sent):
            return refused
        if not self.loses:
            self.version += 1
            self.writes += 1
            pods = sent["spec"]["template"]
            assert "pod-template-hash" not in pods["metadata"]["labels"]
            if pods != self.deployment["spec"]["template"]:
                self._roll_out(pods)
            self.deployment["spec"] = sent["spec"]
        return await self._get(request)

    def _roll_out(self, pods: dict[str, Any]) -> None:
        """Number the revision anew, as the Deployment's controller does."""
        number = max(int(s["metadata"]["annotations"][REVISION]) for s in self.sets[:2]) + 1
        self.deployment["metadata"]["annotations"][REVISION] = str(number)
        for known in self.sets:
            bare = copy.deepcopy(known["spec"]["template"])
            bare["metadata"]["labels"].pop("pod-template-hash")
            if bare == pods:
                known["metadata"]["annotations"][REVISION] = str(number)
                return

    def _scale(self) -> dict[str, Any]:
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {"name": "llm", "namespace": "prod", "resourceVersion": str(self.version)},
            "spec": {"replicas": self.deployment["spec"]["replicas"]},
            "status": {"replicas": self.deployment["spec"]["replicas"]},
        }

    async def _get_scale(self, request: web.Request) -> web.Response:
        return self._denied(request) or web.json_response(self._scale())

    async def _put_scale(self, request: web.Request) -> web.Response:
        sent = await request.json()
        if refused := self._denied(request) or self._stale(sent):
            return refused
        if not self.loses:
            self.version += 1
            self.writes += 1
            self.deployment["spec"]["replicas"] = sent["spec"]["replicas"]
        return web.json_response(self._scale())

    async def _list(self, request: web.Request) -> web.Response:
        assert request.query["labelSelector"] == "app=llm"
        return self._denied(request) or web.json_response({"items": self.sets})


class Adapters(System):
    """vLLM with LoRA adapters that can be changed at run time."""

    def __init__(self) -> None:
        super().__init__()
        self.adapters = {"v1": "/lora/v1", "v2": "/lora/v2"}

    def state(self) -> bytes:
        return orjson.dumps(self.adapters, option=orjson.OPT_SORT_KEYS)

    def meddle(self) -> None:
        self.adapters["v3"] = "/lora/v3"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/models", self._models),
            web.post("/v1/load_lora_adapter", self._load),
            web.post("/v1/unload_lora_adapter", self._unload),
        ]

    async def _models(self, _: web.Request) -> web.Response:
        data: list[dict[str, Any]] = [{"id": "base", "root": "base", "parent": None}]
        data += [{"id": n, "root": p, "parent": "base"} for n, p in self.adapters.items()]
        return web.json_response({"object": "list", "data": data})

    async def _load(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["lora_name"] in self.adapters:
            return self._error(400, "BadRequestError", "has already been loaded")
        if not self.loses:
            self.writes += 1
            self.adapters[asked["lora_name"]] = asked["lora_path"]
        return web.Response(text="Success: LoRA adapter added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["lora_name"] not in self.adapters:
            return self._error(404, "NotFoundError", "cannot be found")
        if not self.loses:
            self.writes += 1
            del self.adapters[asked["lora_name"]]
        return web.Response(text="Success: LoRA adapter removed successfully.")

    def _error(self, code: int, kind: str, message: str) -> web.Response:
        return web.json_response(
            {"error": {"message": message, "type": kind, "code": code}}, status=code
        )


class LiteLLM(System):
    """LiteLLM's management API: fallbacks of models, limits of keys."""

    KEY = "sk-master"

    def __init__(self) -> None:
        super().__init__()
        self.fallbacks: dict[str, list[str]] = {}
        self.keys: dict[str, dict[str, Any]] = {"hash-1": {"rpm_limit": None}}

    def state(self) -> bytes:
        return orjson.dumps([self.fallbacks, self.keys])

    def meddle(self) -> None:
        self.fallbacks["sim"] = ["somebody's"]
        self.keys["hash-1"]["rpm_limit"] = 1_000

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/fallback", self._set),
            web.get("/fallback/{model}", self._show),
            web.delete("/fallback/{model}", self._drop),
            web.get("/key/info", self._key),
            web.post("/key/update", self._update),
        ]

    def _denied(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {self.KEY}":
            return None
        error = {"message": "Authentication Error", "type": "auth_error", "code": "401"}
        return web.json_response({"error": error}, status=401)

    def _none(self, model: str) -> web.Response:
        return web.json_response(
            {"detail": {"error": f"No fallbacks configured for model '{model}'"}}, status=404
        )

    async def _set(self, request: web.Request) -> web.Response:
        if denied := self._denied(request):
            return denied
        asked = await request.json()
        assert asked["fallback_models"]
        if not self.loses:
            self.writes += 1
            self.fallbacks[asked["model"]] = asked["fallback_models"]
        return web.json_response({**asked, "message": "Fallback configuration created"})

    async def _show(self, request: web.Request) -> web.Response:
        model = request.match_info["model"]
        if denied := self._denied(request):
            return denied
        if model not in self.fallbacks:
            return self._none(model)
        found = {"fallback_models": self.fallbacks[model], "fallback_type": "general"}
        return web.json_response({"model": model, **found})

    async def _drop(self, request: web.Request) -> web.Response:
        model = request.match_info["model"]
        if denied := self._denied(request):
            return denied
        if model not in self.fallbacks:
            return self._none(model)
        if not self.loses:
            self.writes += 1
            del self.fallbacks[model]
        return web.json_response({"model": model, "message": "deleted"})

    async def _key(self, request: web.Request) -> web.Response:
        if denied := self._denied(request):
            return denied
        key = request.query["key"]
        return web.json_response({"key": key, "info": self.keys[key]})

    async def _update(self, request: web.Request) -> web.Response:
        if denied := self._denied(request):
            return denied
        asked = await request.json()
        if not self.loses:
            self.writes += 1
            self.keys[asked["key"]] |= {"rpm_limit": asked["rpm_limit"]}
        return web.json_response({"key": asked["key"]})


class Webhook(System):
    """An operator's receiver that keeps the promises of `serving/actuators/webhook_scale.py`."""

    SECRET = b"shared"
    NOW_S = 1_790_000_000

    def __init__(self) -> None:
        super().__init__()
        self.replicas = 3
        self.revision = 7
        self.known: set[str] = set()

    def state(self) -> bytes:
        return orjson.dumps([self.replicas, self.revision])

    def meddle(self) -> None:
        self.replicas += 1
        self.revision += 1

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/scale", self._show), web.post("/scale", self._set)]

    async def _forged(self, request: web.Request) -> bool:
        at = int(request.headers["X-Tocsin-Timestamp"])
        wanted = sign(self.SECRET, at, await request.read())
        given = request.headers["X-Tocsin-Signature"]
        return abs(at - self.NOW_S) > 300 or not hmac.compare_digest(given, wanted)

    def _state(self) -> web.Response:
        return web.json_response({"replicas": self.replicas, "revision": str(self.revision)})

    async def _show(self, request: web.Request) -> web.Response:
        return web.Response(status=401) if await self._forged(request) else self._state()

    async def _set(self, request: web.Request) -> web.Response:
        if await self._forged(request):
            return web.Response(status=401)
        asked = await request.json()
        if asked["action_id"] in self.known:
            return self._state()
        if asked["expected"] != str(self.revision):
            return web.json_response({"error": "somebody scaled in between"}, status=409)
        if not self.loses:
            self.known.add(asked["action_id"])
            self.writes += 1
            self.replicas = asked["replicas"]
            self.revision += 1
        return self._state()


@asynccontextmanager
async def running_system(system: System) -> AsyncIterator[System]:
    """Run a system on a free port of loopback."""

    @web.middleware
    async def faults(request: web.Request, handler: Any) -> web.StreamResponse:
        if system.down:
            return web.json_response({"message": "the server is on fire"}, status=503)
        answer: web.StreamResponse = await handler(request)
        return answer

    app = web.Application(middlewares=[faults])
    app.add_routes(system.routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    system.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    try:
        yield system
    finally:
        await runner.cleanup()
