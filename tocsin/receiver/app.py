"""The receiver as one ASGI application: two protocols, a JSON API, and the page."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tocsin.receiver.api import ReceiverApi
from tocsin.receiver.board import Board
from tocsin.receiver.pagerduty import PagerDutyApi
from tocsin.receiver.slack import SlackApi

__all__ = ["PAGERDUTY_PATH", "SLACK_PATH", "create_app"]

SLACK_PATH: Final = "/slack/api"
PAGERDUTY_PATH: Final = "/pagerduty"

_PAGE: Final = Path(str(files("tocsin.receiver"))) / "page"

# Texts on the page come from anywhere. Scripts come from here alone, and the page never turns a
# text into markup: Trusted Types make the browser refuse to, should it ever try.
_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def create_app(
    board: Board,
    *,
    token: str,
    slack_token: str | None = None,
    pagerduty_routing_key: str | None = None,
) -> Starlette:
    """Return the application.

    Args:
        board: what it keeps.
        token: wanted for every push and fault.
        slack_token: the only bearer token taken; None takes any.
        pagerduty_routing_key: the only routing key taken; None takes any well-formed one.
    """
    return Starlette(
        routes=[
            Route("/", _index),
            *ReceiverApi(board, token).routes,
            Mount(SLACK_PATH, routes=SlackApi(board, slack_token).routes),
            Mount(PAGERDUTY_PATH, routes=PagerDutyApi(board, pagerduty_routing_key).routes),
            Mount("/page", StaticFiles(directory=_PAGE)),
        ],
        middleware=[
            # A page of another origin whose name was rebound to 127.0.0.1 must read nothing here.
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
            Middleware(_SecurityHeaders),
        ],
    )


async def _index(_: Request) -> Response:
    return FileResponse(_PAGE / "index.html", media_type="text/html")


class _SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)
