"""Keep pages of other sites away: a browser on this machine would carry their queries to loopback.

The store's user has no password unless one is set, as ClickHouse's own `default`; so a page must
neither post to it (its `Origin` tells) nor reach it under a name of its own that was rebound to
127.0.0.1 (`Host` tells). Clients that are no browsers send no `Origin`, and an address as `Host`.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.listening import is_loopback

__all__ = ["OwnMachineOnly", "is_foreign"]

_NAMES: Final = frozenset({"localhost", socket.gethostname().lower()})


def is_foreign(headers: Headers) -> bool:
    """Tell whether a request comes from a page of elsewhere."""
    origin = headers.get("origin")
    if origin is not None and not is_loopback(_host(origin)):
        return True
    host = _host(f"//{headers.get('host', '')}")
    return bool(host) and host not in _NAMES and not _is_address(host)


class OwnMachineOnly:
    """Answers 403 to what comes from a page of elsewhere, and passes the rest on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and is_foreign(Headers(scope=scope)):
            refusal = PlainTextResponse("Pages of other sites may not ask this store.\n", 403)
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return "invalid"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
