"""Slack's Web API, as far as a notifier uses it: chat.postMessage, chat.update, auth.test.

Every answer but a 429 or a fault is HTTP 200 with ``ok``, as Slack's are.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tocsin.receiver.board import Board
from tocsin.receiver.bodies import meet_faults, read_body
from tocsin.receiver.errors import BodyTooLargeError, SlackError
from tocsin.receiver.faults import Fault
from tocsin.receiver.messages import SlackMessage

__all__ = ["SlackApi"]

_MAX_BODY: Final = 1024 * 1024


class SlackApi:
    """The methods of Slack over one board; ``token`` None takes any bearer token."""

    def __init__(self, board: Board, token: str | None = None) -> None:
        self._board = board
        self._token = token

    @property
    def routes(self) -> list[Route]:
        """Return the routes under Slack's base URL."""
        return [Route("/{method}", self._call, methods=["GET", "POST"])]

    async def _call(self, request: Request) -> Response:
        async def work() -> Response:
            try:
                body = await read_body(request, _MAX_BODY)
                fields = _fields(request, body)
                self._authorise(request, fields)
                return _ok(self._run(request.path_params["method"], fields))
            except SlackError as error:
                return _not_ok(error)
            except BodyTooLargeError:
                return _not_ok(SlackError("request_too_large"), status=413)

        return await meet_faults(self._board.faults, "slack", work, _refuse)

    def _authorise(self, request: Request, fields: dict[str, Any]) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = str(fields.get("token", ""))
        if not token:
            raise SlackError("not_authed")
        if self._token is not None and not hmac.compare_digest(
            token.encode(), self._token.encode()
        ):
            raise SlackError("invalid_auth")

    def _run(self, method: str, fields: dict[str, Any]) -> dict[str, Any]:
        methods: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "chat.postMessage": lambda f: _told(self._board.post_message(f)),
            "chat.update": self._update,
            "auth.test": _auth_test,
        }
        if method not in methods:
            raise SlackError("unknown_method")
        return methods[method](fields)

    def _update(self, fields: dict[str, Any]) -> dict[str, Any]:
        message = self._board.update_message(fields)
        return _told(message) | {"text": message.text}


def _fields(request: Request, body: bytes) -> dict[str, Any]:
    """Return the arguments from query, form or JSON body."""
    fields: dict[str, Any] = dict(request.query_params)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        try:
            # Unlike json, it takes nothing that no answer could show: NaN, half a surrogate.
            document = orjson.loads(body or b"{}")
        except ValueError:
            raise SlackError("invalid_json") from None
        if not isinstance(document, dict):
            raise SlackError("json_not_object")
        return fields | document
    try:
        return fields | dict(parse_qsl(body.decode(), keep_blank_values=True))
    except ValueError:
        raise SlackError("invalid_form_data") from None


def _told(message: SlackMessage) -> dict[str, Any]:
    return {"channel": message.channel, "ts": message.ts, "message": message.as_slack()}


def _auth_test(_: dict[str, Any]) -> dict[str, Any]:
    return {
        "url": "https://tocsin.invalid/",
        "team": "Tocsin's receiver",
        "user": "tocsin",
        "team_id": "T00000000",
        "user_id": "U00000000",
        "bot_id": "B00000000",
    }


def _ok(answer: dict[str, Any]) -> Response:
    return JSONResponse({"ok": True, **answer})


def _not_ok(error: SlackError, status: int = 200) -> Response:
    answer: dict[str, Any] = {"ok": False, "error": error.code}
    if error.details:
        answer["errors"] = list(error.details)
        answer["response_metadata"] = {"messages": [f"[ERROR] {text}" for text in error.details]}
    return JSONResponse(answer, status)


def _refuse(fault: Fault) -> Response:
    code = "ratelimited" if fault.status == 429 else "internal_error"
    return JSONResponse({"ok": False, "error": code}, fault.status or 500)
