"""Let the application say for each request which version, provider and route answered it.

The environment names one model version for a whole server. An application that chooses by flags
(the gateway, the simulated fleet) declares its choice in the ASGI scope, which the middleware reads
when the request is over: `scope["state"]["tocsin"]` may hold `model_version`, `provider`, `server`,
`route` and `failed_attempts`, each of them optional.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, Final

from schemas.event import Route
from serving.emit.build import Origin
from serving.emit.request import Sender, clean_name

__all__ = ["STATE_KEY", "declare", "take_declared"]

STATE_KEY: Final = "tocsin"
_MOST: Final = 20


def declare(
    scope: MutableMapping[str, Any],
    *,
    model_version: str | None = None,
    provider: str | None = None,
    server: str | None = None,
    route: Route | None = None,
    failed_attempts: Sequence[str] = (),
) -> None:
    """Declare what answers this request; what is None stays as the server's settings have it."""
    said = {
        "model_version": model_version,
        "provider": provider,
        "server": server,
        "route": route,
        "failed_attempts": tuple(failed_attempts),
    }
    state = scope.setdefault("state", {})
    state[STATE_KEY] = {key: value for key, value in said.items() if value is not None}


def take_declared(
    state: Mapping[str, Any], origin: Origin, sender: Sender
) -> tuple[Origin, Sender]:
    """Return the origin and the sender with what the application declared put over them."""
    said = state.get(STATE_KEY)
    if not isinstance(said, Mapping):
        return origin, sender
    origin = replace(
        origin,
        server=clean_name(said.get("server")) or origin.server,
        provider=clean_name(said.get("provider")) or origin.provider,
        model_version=clean_name(said.get("model_version")) or origin.model_version,
        failed_attempts=tuple(
            name for item in said.get("failed_attempts", ())[:_MOST] if (name := clean_name(item))
        ),
    )
    route = said.get("route")
    return origin, replace(sender, route=Route(route)) if route in tuple(Route) else sender
