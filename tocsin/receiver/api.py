"""The receiver's own JSON API: what it got, and what the demo tells it.

Reading is open to this machine; every change wants the token in ``X-Tocsin-Token``.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tocsin.receiver.board import Board
from tocsin.receiver.bodies import read_body
from tocsin.receiver.charts import PointBatch
from tocsin.receiver.errors import BodyTooLargeError
from tocsin.receiver.faults import Fault
from tocsin.receiver.timeline import Step

__all__ = ["TOKEN_HEADER", "ReceiverApi"]

TOKEN_HEADER: Final = "X-Tocsin-Token"  # noqa: S105 - the header's name

_MAX_BODY: Final = 4 * 1024 * 1024
_Pushed = TypeVar("_Pushed", bound=BaseModel)


class ReceiverApi:
    """The API of one board; ``token`` guards every change."""

    def __init__(self, board: Board, token: str) -> None:
        self._board = board
        self._token = token

    @property
    def routes(self) -> list[Route]:
        """Return the routes of ``/api`` and the event stream."""
        return [
            Route("/healthz", self._health),
            Route("/events", self._events),
            Route("/api/messages", self._messages),
            Route("/api/incidents", self._incidents),
            Route("/api/timeline", self._timeline, methods=["GET", "POST"]),
            Route("/api/metrics", self._metrics, methods=["GET", "POST"]),
            Route("/api/faults", self._faults, methods=["GET", "POST", "DELETE"]),
        ]

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _events(self, _: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            self._board.feed.stream(), media_type="text/event-stream", headers=headers
        )

    async def _messages(self, _: Request) -> Response:
        store = self._board.messages
        messages = [message.as_dict() for message in store.all()]
        return JSONResponse({"messages": messages, "dropped": store.dropped})

    async def _incidents(self, _: Request) -> Response:
        store = self._board.incidents
        incidents = [incident.as_dict() for incident in store.all()]
        counts = {"dropped": store.dropped, "ignored": store.ignored}
        return JSONResponse({"incidents": incidents, **counts})

    async def _timeline(self, request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(self._board.timeline.as_dict())

        def add(step: Step) -> object:
            self._board.add_step(step)
            return {"step": step.step}

        return await self._change(request, TypeAdapter(Step), add)

    async def _metrics(self, request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(self._board.points.as_dict())

        def add(batch: PointBatch) -> object:
            return {"kept": self._board.add_points(batch.points)}

        return await self._change(request, TypeAdapter(PointBatch), add)

    async def _faults(self, request: Request) -> Response:
        faults = self._board.faults
        if request.method == "POST":

            def add(fault: Fault) -> object:
                faults.add(fault)
                return faults.as_dict()

            return await self._change(request, TypeAdapter(Fault), add)
        if request.method == "DELETE":
            if not self._authorised(request):
                return _unauthorised()
            faults.clear()
        return JSONResponse(faults.as_dict())

    async def _change(
        self, request: Request, adapter: TypeAdapter[_Pushed], take: Callable[[_Pushed], object]
    ) -> Response:
        if not self._authorised(request):
            return _unauthorised()
        try:
            pushed = adapter.validate_json(await read_body(request, _MAX_BODY))
        except BodyTooLargeError as error:
            return JSONResponse({"error": str(error)}, 413)
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}"
                for item in error.errors(include_url=False, include_input=False)[:20]
            ]
            return JSONResponse({"error": "; ".join(problems)}, 422)
        return JSONResponse(take(pushed), 201)

    def _authorised(self, request: Request) -> bool:
        given = request.headers.get(TOKEN_HEADER, "")
        return hmac.compare_digest(given.encode(), self._token.encode())


def _unauthorised() -> Response:
    return JSONResponse({"error": f"{TOKEN_HEADER} is missing or wrong"}, 401)
