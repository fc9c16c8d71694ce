"""The HTTP surface of one simulated server: OpenAI's paths, health, and faults on demand."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.emit.emission import Emission
from serving.emit.middleware import ASGIApp, Receive, Scope, Send, TocsinMiddleware
from serving.errors import FleetError
from serving.fleet.faults import Faults
from serving.fleet.profile import Fault
from serving.fleet.server import SimServer

__all__ = ["make_app"]


class _Raw:
    """An ASGI endpoint that Starlette passes the bare request to."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class _Admin:
    """Faults, for whoever has the token and sits on this machine."""

    def __init__(self, provider: str, faults: Faults, token: str) -> None:
        self._provider = provider
        self._faults = faults
        self._token = token

    async def show(self, request: Request) -> Response:
        """Answer GET /admin/faults."""
        return self._denied(request) or self._all()

    async def change(self, request: Request) -> Response:
        """Answer PUT /admin/faults/{version}; the version `*` stands for the whole provider."""
        if denied := self._denied(request):
            return denied
        version = request.path_params["version"]
        try:
            fault = Fault.model_validate_json(await request.body())
            self._faults.set(self._provider, None if version == "*" else version, fault)
        except ValidationError as error:
            return JSONResponse({"error": str(error.errors(include_url=False)[0]["msg"])}, 400)
        except FleetError as error:
            return JSONResponse({"error": str(error)}, 404)
        return self._all()

    def _all(self) -> Response:
        faults = self._faults.all(self._provider)
        return JSONResponse({version: fault.model_dump() for version, fault in faults.items()})

    def _denied(self, request: Request) -> Response | None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return JSONResponse({"error": "a token is needed"}, 401)
        host = request.client.host if request.client else ""
        try:
            near = ipaddress.ip_address(host).is_loopback
        except ValueError:
            near = False
        return None if near else JSONResponse({"error": "from this machine only"}, 403)


def make_app(
    server: SimServer, faults: Faults, *, emission: Emission | None, admin_token: str = ""
) -> ASGIApp:
    """Return the ASGI application of one server, inside Tocsin's middleware.

    Args:
        server: what answers.
        faults: what the admin endpoint changes.
        emission: where the middleware reports; None leaves the middleware out.
        admin_token: opens the admin endpoint, which does not exist without one.
    """

    async def models(_: Request) -> Response:
        return JSONResponse(
            {
                "object": "list",
                "data": [{"id": server.model, "object": "model", "owned_by": server.provider}],
            }
        )

    async def health(_: Request) -> Response:
        return Response()

    routes = [
        Route("/v1/chat/completions", _Raw(server.chat), methods=["POST"]),
        Route("/v1/completions", _Raw(server.completions), methods=["POST"]),
        Route("/v1/models", models),
        Route("/health", health),
    ]
    if admin_token:
        admin = _Admin(server.provider, faults, admin_token)
        routes += [
            Route("/admin/faults", admin.show),
            Route("/admin/faults/{version}", admin.change, methods=["PUT"]),
        ]
    app: ASGIApp = Starlette(routes=routes)
    return app if emission is None else TocsinMiddleware(app, emission)
