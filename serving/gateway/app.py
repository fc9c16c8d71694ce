"""The gateway as an ASGI application: OpenAI's paths, keys, and Tocsin's own middleware."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from pydantic import SecretStr

from schemas.settings import Settings
from serving.emit.emission import Clock, Emission
from serving.emit.middleware import EXCHANGE_KEY, Receive, Scope, Send, TocsinMiddleware
from serving.emit.operations import operation_of
from serving.emit.sink import EventSink
from serving.flags.reader import FlagReader
from serving.gateway import metrics
from serving.gateway.breaker import Breakers
from serving.gateway.buckets import Buckets
from serving.gateway.chain import Chain
from serving.gateway.flow import ABORT_KEY, FLOW_KEY, ClientStalledError, Flow, sweep
from serving.gateway.in_force import FlagWatch, InForce
from serving.gateway.keys import KeyRing, bearer
from serving.gateway.limits import RateLimiter
from serving.gateway.load import LoadedGateway
from serving.gateway.model import KeyEntry
from serving.gateway.relay import send_reply
from serving.gateway.replies import Reply, error_reply, json_reply
from serving.gateway.serve import Server
from serving.gateway.upstream import Upstream, open_session

__all__ = ["Gateway"]

_PATHS: Final = frozenset(
    f"/v1/{name}"
    for name in ("chat/completions", "completions", "embeddings", "responses", "messages")
)
_PROVIDER: Final = "gateway"
"""The provider of requests that no upstream has answered."""

_log = structlog.get_logger("tocsin.gateway")

_UNAUTHORIZED: Final = error_reply(
    401, "authentication_error", "Incorrect API key provided.", code="invalid_api_key"
)
_OVERLOADED: Final = error_reply(
    503, "overloaded", "Too many requests are under way.", retry_after_s=1
)


class Gateway:
    """Serves OpenAI's API from the upstreams of a file, by the flags in force.

    Args:
        loaded: the gateway's file with the upstreams' keys.
        settings: all settings; the emitter's and the gateway's own are used.
        flags: where flags are read; opened by whoever owns it.
        sink: where events go.
        clock: both clocks.
        buckets: of the rate limits, when other processes share them.
    """

    def __init__(
        self,
        loaded: LoadedGateway,
        settings: Settings,
        flags: FlagReader,
        sink: EventSink,
        *,
        clock: Clock | None = None,
        buckets: Buckets | None = None,
    ) -> None:
        self._loaded = loaded
        self._settings = settings.gateway
        emit = settings.emit.model_copy(update={"provider": _PROVIDER, "model_version": ""})
        self._token = settings.emit.gateway_token
        self._emission = Emission(
            # Nothing joins by waiting here, and the gateway is nobody's server to be joined.
            emit.model_copy(update={"join_wait_s": 0, "gateway_token": SecretStr("")}),
            sink,
            clock=clock,
        )
        self._now = self._emission.clock.monotonic
        self._keys = KeyRing(loaded.file.keys)
        self.flags = FlagWatch(flags, poll_s=self._settings.flags_poll_s, changed=_flags_changed)
        self.limiter = RateLimiter(loaded.file.limits, buckets)
        self.breakers = Breakers(loaded.file.upstreams, loaded.file.breaker)
        self._flows: set[Flow] = set()
        self._watched = TocsinMiddleware(self._inner, self._emission)
        self._server: Server | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or the life of the process."""
        if scope["type"] == "lifespan":
            await self._watched(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine runs in a task
        flow = Flow(task)
        entry, known = self._authenticate(scope)
        scope[FLOW_KEY] = flow
        if operation_of(scope) is None or scope["path"] not in _PATHS:
            await send_reply(self._plain(scope, known=known), flow, send)
            return
        flow.key = entry
        if not known:
            flow.refusal = _UNAUTHORIZED
        elif len(self._flows) >= self._settings.concurrency:
            flow.refusal = _OVERLOADED
        self._flows.add(flow)
        metrics.ACTIVE.set(len(self._flows))
        try:
            await self._watched(scope, receive, flow.guard(send, self._now))
        except ClientStalledError:
            _abort(scope)
        except asyncio.CancelledError:
            if not flow.stalled:
                raise
            flow.task.uncancel()
            _abort(scope)
        finally:
            self._flows.discard(flow)
            metrics.ACTIVE.set(len(self._flows))
            self._settle(flow, scope)

    async def _inner(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do what the middleware watches."""
        if scope["type"] == "lifespan":
            await self._life(receive, send)
            return
        flow: Flow = scope[FLOW_KEY]
        server = self._server
        if server is None:
            await send_reply(error_reply(503, "starting", "The gateway is starting."), flow, send)
            return
        try:
            await server(scope, receive, send)
        except asyncio.CancelledError:
            if not flow.gone or flow.stalled:
                raise
            flow.task.uncancel()  # the client has left, and nobody waits for an answer

    async def _life(self, receive: Receive, send: Send) -> None:
        """Open the connections at the start and close them at the end."""
        await receive()
        session = open_session(self._settings)
        upstreams = {
            name: Upstream(
                name,
                entry,
                self._settings,
                session,
                key=self._loaded.secrets.get(name),
                token=self._token,
                wall_ns=self._emission.clock.wall_ns,
            )
            for name, entry in self._loaded.file.upstreams.items()
        }
        for name in upstreams:
            metrics.EJECTED.labels(name).set(0)
        chain = Chain(upstreams, self.breakers, attempts=self._loaded.file.attempts, now=self._now)
        self.flags.look()
        server = Server(
            self._loaded.file, self._settings, chain, self.flags, self.limiter, self._emission
        )
        self._server = server
        tasks = [
            asyncio.create_task(self.flags.run()),
            asyncio.create_task(sweep(self._flows, self._settings.send_timeout_s, self._now)),
        ]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._server = None
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await server.shadows.close()
        await session.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _authenticate(self, scope: Scope) -> tuple[KeyEntry | None, bool]:
        """Return whose key a request has and whether it may enter; bind it to who the key is for.

        Who asks and by which route is not for a client to say where its key says it, and what it
        says of joining is for nobody.
        """
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        if self._keys.open:
            return None, True
        entry = self._keys.check(bearer(headers))
        if entry is None:
            return None, False
        told = {
            f"x-tocsin-{name}".encode(): value.encode("latin-1", "replace")
            for name in ("user", "plan", "feature")
            if (value := getattr(entry, name))
        }
        if told:
            scope["headers"] = [h for h in headers if h[0] not in told] + list(told.items())
        return entry, True

    def _plain(self, scope: Scope, *, known: bool) -> Reply:
        """Answer what asks no model to compute."""
        path, method = str(scope["path"]), scope["method"]
        if path == "/health" and method in ("GET", "HEAD"):
            return Reply(200 if self._server else 503, b"", ())
        if not known:
            return _UNAUTHORIZED
        if path in _PATHS:
            return error_reply(405, "method_not_allowed", f"{path} takes POST.")
        if path == "/v1/models" and method == "GET":
            data = [_model(name) for name in self._loaded.file.models]
            return json_reply(200, {"object": "list", "data": data})
        name = path.removeprefix("/v1/models/")
        if name != path and method == "GET" and name in self._loaded.file.models:
            return json_reply(200, _model(name))
        return error_reply(404, "invalid_request_error", "There is nothing here.", code="not_found")

    def _settle(self, flow: Flow, scope: Scope) -> None:
        """Charge the tokens that a request really took; what is unknown stays as estimated."""
        exchange = scope.get(EXCHANGE_KEY)
        if flow.grant is None or not flow.grant.buckets or exchange is None:
            return
        answer = exchange.answer
        taken = answer.input_tokens
        if answer.error_type is not None and taken is None and not answer.pieces:
            taken = 0  # nothing was computed for it
        elif taken is None:
            taken = flow.grant.reserved
        output = answer.output_tokens
        total = taken + (answer.pieces if output is None else output)
        self.limiter.settle(flow.grant, total, self._now())


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "tocsin"}


def _abort(scope: Scope) -> None:
    """Cut the connection of a client that takes nothing: closing would wait for it to read."""
    if callable(abort := scope.get("state", {}).get(ABORT_KEY)):
        abort()


def _flags_changed(flags: InForce) -> None:
    _log.info(
        "flags in force",
        provider=flags.provider,
        version=flags.version,
        canary=f"{flags.canary_version or '-'} {flags.canary_percent:g} %",
        shadow=f"{flags.shadow_percent:g} %",
        enabled=flags.enabled,
        fallback=flags.fallback,
        limits=flags.limits,
    )
