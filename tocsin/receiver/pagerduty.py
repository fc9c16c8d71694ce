"""PagerDuty's Events API v2: ``POST /v2/enqueue``, validated as PagerDuty validates."""

from __future__ import annotations

import hmac
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tocsin.receiver.board import Board
from tocsin.receiver.bodies import meet_faults, read_body
from tocsin.receiver.errors import BodyTooLargeError
from tocsin.receiver.faults import Fault
from tocsin.receiver.pagerduty_event import event_problems

__all__ = ["PagerDutyApi"]

_MAX_BODY: Final = 512 * 1024


class PagerDutyApi:
    """The events endpoint over one board; ``routing_key`` None takes every well-formed key."""

    def __init__(self, board: Board, routing_key: str | None = None) -> None:
        self._board = board
        self._routing_key = routing_key

    @property
    def routes(self) -> list[Route]:
        """Return the routes under PagerDuty's base URL."""
        return [Route("/v2/enqueue", self._enqueue, methods=["POST"])]

    async def _enqueue(self, request: Request) -> Response:
        async def work() -> Response:
            try:
                return self._take(await read_body(request, _MAX_BODY))
            except BodyTooLargeError as error:
                return _refusal("payload too large", str(error), status=413)

        return await meet_faults(self._board.faults, "pagerduty", work, _refuse)

    def _take(self, body: bytes) -> Response:
        try:
            event: Any = orjson.loads(body)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            message = "Event object format is unrecognized"
            return _refusal("Unrecognized object", message, ["JSON parse error"])
        problems = event_problems(event)
        if not problems and not self._known(event["routing_key"]):
            problems = ["Invalid routing key"]
        if problems:
            return _refusal("invalid event", "Event object is invalid", problems)
        dedup_key, _ = self._board.take_event(event)
        return JSONResponse(
            {"status": "success", "message": "Event processed", "dedup_key": dedup_key}, 202
        )

    def _known(self, key: str) -> bool:
        return self._routing_key is None or hmac.compare_digest(
            key.encode(), self._routing_key.encode()
        )


def _refusal(
    status_text: str, message: str, errors: list[str] | None = None, status: int = 400
) -> Response:
    answer: dict[str, Any] = {"status": status_text, "message": message}
    if errors is not None:
        answer["errors"] = errors
    return JSONResponse(answer, status)


def _refuse(fault: Fault) -> Response:
    if fault.status == 429:
        message = "Requests for this service are arriving too quickly. Please retry later."
        return _refusal("throttle exceeded", message, status=429)
    return _refusal("internal error", "An internal error occurred", status=fault.status or 500)
