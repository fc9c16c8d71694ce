"""The API as one ASGI application; docs/alerting.md describes it for those who call it."""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import structlog
from pydantic import BaseModel, SecretStr, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.clock import Clock
from tocsin.api.asked import AskAck, AskDecision, AskExpiry, AskSilence
from tocsin.api.errors import ApiError, AwayError, RequestError, UnauthorisedError, UnknownError
from tocsin.api.reading import Reading
from tocsin.api.rollout.routes import AskAbort, RolloutPages
from tocsin.api.rollout.view import Rollouts
from tocsin.api.sending import Sends
from tocsin.api.session import Sessions
from tocsin.api.slack import SlackClicks
from tocsin.receiver.bodies import read_body
from tocsin.receiver.errors import BodyTooLargeError

__all__ = ["create_app"]

log = structlog.get_logger(__name__)

_BODY: Final = 64 * 1024
_GROUP: Final = "tocsin-group-"

Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]


def create_app(
    reading: Reading,
    sender: Sends,
    clicks: SlackClicks,
    rollouts: Rollouts,
    token: SecretStr,
    clock: Clock,
) -> Starlette:
    """Return the application.

    Args:
        reading: answers what is asked.
        sender: takes what is asked for.
        clicks: Slack's interactivity; it verifies its requests itself.
        rollouts: what the page at /rollout draws.
        token: wanted as a bearer token; an empty one lets every caller of this machine in.
        clock: UTC microseconds.
    """
    api = _Api(reading, sender, clock)
    pages = RolloutPages(rollouts, Sessions(token, clock))

    async def abort_rollout(request: Request) -> Response:
        return await pages.abort(await _body(request, AskAbort))

    routes = [
        Route("/v1/alerts", _guarded(api.alerts, token), methods=["GET"]),
        Route("/v1/silences", _guarded(api.silences, token), methods=["GET"]),
        Route("/v1/silences", _guarded(api.add_silence, token), methods=["POST"]),
        Route(
            "/v1/silences/{silence_id}/expire",
            _guarded(api.expire_silence, token),
            methods=["POST"],
        ),
        Route("/v1/acks", _guarded(api.acknowledge, token), methods=["POST"]),
        Route("/v1/decisions", _guarded(api.decide, token), methods=["POST"]),
        Route("/v1/rollout", _guarded(pages.shown, token), methods=["GET"]),
        Route("/v1/rollout/abort", _guarded(abort_rollout, token), methods=["POST"]),
        *pages.routes(),
        Route("/slack/interactive", clicks.clicked, methods=["POST"]),
        Route("/healthz", _well, methods=["GET"]),
    ]
    # Without a token, a page of another origin whose name was rebound to 127.0.0.1 must do nothing.
    local = [Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])]
    return Starlette(routes=routes, middleware=[] if token.get_secret_value() else local)


class _Api:
    def __init__(self, reading: Reading, sender: Sends, clock: Clock) -> None:
        self._reading = reading
        self._sender = sender
        self._clock = clock

    async def alerts(self, request: Request) -> Response:
        every = _flag(request, "all")
        return JSONResponse({"alerts": await self._reading.alerts(self._clock(), every=every)})

    async def silences(self, request: Request) -> Response:
        every = _flag(request, "all")
        return JSONResponse({"silences": await self._reading.silences(self._clock(), every=every)})

    async def add_silence(self, request: Request) -> Response:
        asked = await _body(request, AskSilence)
        try:
            command = asked.command(_command_id(request), self._clock())
        except ValueError as error:
            raise RequestError(str(error)) from None
        await self._sender.send(command)
        return JSONResponse({"silence_id": command.subject}, 201)

    async def expire_silence(self, request: Request) -> Response:
        asked = await _body(request, AskExpiry)
        silence_id = request.path_params["silence_id"]
        known = await self._try_reading(lambda: self._reading.silences(self._clock(), every=True))
        one = None if known is None else [s for s in known if s["silence_id"] == silence_id]
        if one is not None and not one:
            raise UnknownError(f"no silence {silence_id!r}; `tocsin silence list` shows them")
        if one and one[0]["state"] == "expired":
            raise RequestError(f"silence {silence_id!r} is over since {one[0]['ends_at']}")
        command = asked.command(_command_id(request), silence_id, self._clock())
        await self._sender.send(command)
        return JSONResponse({"silence_id": silence_id}, 202)

    async def acknowledge(self, request: Request) -> Response:
        asked = await _body(request, AskAck)
        await self._check_open(asked.incident_id)
        await self._sender.send(asked.command(_command_id(request), self._clock()))
        return JSONResponse({"incident_id": asked.incident_id}, 202)

    async def decide(self, request: Request) -> Response:
        asked = await _body(request, AskDecision)
        await self._check_open(asked.incident_id)
        await self._sender.send(asked.command(_command_id(request), self._clock()))
        return JSONResponse({"action_id": asked.action_id}, 202)

    async def _check_open(self, incident_id: str) -> None:
        if incident_id.startswith(_GROUP):  # the dispatcher knows which incidents it stands for
            return
        known = await self._try_reading(
            lambda: self._reading.alerts(self._clock(), incident=incident_id, limit=1)
        )
        if known is not None and not known:
            raise UnknownError(f"no open incident {incident_id!r}; `tocsin alerts` shows them")

    @staticmethod
    async def _try_reading(
        read: Callable[[], Awaitable[list[dict[str, Any]]]],
    ) -> list[dict[str, Any]] | None:
        """Return what the store says; None when it is away: a command must not depend on it."""
        try:
            return await read()
        except AwayError as error:
            log.warning("unchecked", reason=str(error))
            return None


async def _well(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _guarded(handler: Handler, token: SecretStr) -> Handler:
    async def guarded(request: Request) -> Response:
        try:
            _authorise(request, token)
            return await handler(request)
        except ApiError as error:
            headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
            return JSONResponse({"error": str(error)}, error.status, headers)
        except BodyTooLargeError as error:
            return JSONResponse({"error": str(error)}, 413)

    return guarded


def _authorise(request: Request, token: SecretStr) -> None:
    wanted = token.get_secret_value()
    if not wanted:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(
        given.strip().encode(), wanted.encode()
    ):
        client = request.client.host if request.client else ""
        log.warning("api_refused", path=request.url.path, client=client)
        raise UnauthorisedError("expected the header 'Authorization: Bearer TOKEN'")


async def _body(request: Request, kind: type[Body]) -> Body:
    # No form and no plain text: what a page of another origin may send without asking first.
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise RequestError("Content-Type: expected application/json")
    try:
        return kind.model_validate_json(await read_body(request, _BODY))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)[:20]
        raise RequestError("; ".join(_fault(item) for item in faults)) from None


def _fault(item: Any) -> str:
    where = ".".join(map(str, item["loc"])) or "body"
    return f"{where}: {item['msg'].removeprefix('Value error, ')}"


def _command_id(request: Request) -> str:
    given = request.headers.get("idempotency-key", "")
    if len(given) > 200:
        raise RequestError("Idempotency-Key: expected at most 200 characters")
    return f"api/{given or uuid.uuid4().hex}"


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise RequestError(f"{name}: expected true or false")
    return value == "true"
