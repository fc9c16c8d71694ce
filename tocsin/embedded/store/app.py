"""The HTTP side: ClickHouse's endpoints on Starlette; the engine works on threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tocsin.embedded.store import replies
from tocsin.embedded.store.access import Credentials
from tocsin.embedded.store.body import RequestBody
from tocsin.embedded.store.browsers import OwnMachineOnly
from tocsin.embedded.store.engine import Engine
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.exchange import Exchange
from tocsin.embedded.store.external import with_form
from tocsin.embedded.store.query import QueryRequest
from tocsin.embedded.store.result import answer
from tocsin.embedded.store.sessions import SessionRegistry
from tocsin.embedded.store.statement import split_insert
from tocsin.embedded.store.statuses import ErrorCode

__all__ = ["Limits", "StoreApp"]

_T = TypeVar("_T")
_HEAD = 256 * 1024  # ClickHouse's max_query_size: an INSERT's text ends within it


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on at most."""

    body_bytes: int = 1 << 30
    queries: int = 100
    threads: int = 16
    sessions: int = 1000


class StoreApp:
    """The application and what it holds: the engine, the sessions, the threads."""

    def __init__(self, engine: Engine, credentials: Credentials, limits: Limits) -> None:
        self._engine = engine
        self._credentials = credentials
        self._limits = limits
        self._sessions = SessionRegistry(engine.connect, time.monotonic, limits.sessions)
        self._threads: anyio.CapacityLimiter | None = None
        self._running = 0

    def starlette(self) -> Starlette:
        """Give the ASGI application."""
        return Starlette(
            routes=[
                Route("/ping", self._ok, methods=["GET", "HEAD"]),
                Route("/replicas_status", self._ok, methods=["GET", "HEAD"]),
                Route("/", self._query, methods=["GET", "HEAD", "POST", "PUT"]),
                Route("/query", self._query, methods=["GET", "HEAD", "POST", "PUT"]),
            ],
            middleware=[Middleware(OwnMachineOnly)],
        )

    def interrupt(self) -> None:
        """Stop the queries that still run."""
        self._engine.interrupt()

    def close(self) -> None:
        """Close sessions and engine; call when the server serves no more."""
        self._sessions.close()
        self._engine.close()

    async def _ok(self, request: Request) -> Response:
        del request
        return PlainTextResponse("Ok.\n")

    async def _query(self, request: Request) -> Response:
        if request.method in {"GET", "HEAD"} and "query" not in request.query_params:
            return await self._ok(request)
        query_id = request.query_params.get("query_id", "")
        if self._running >= self._limits.queries:
            busy = f"Too many simultaneous queries. Maximum: {self._limits.queries}."
            code = ErrorCode.TOO_MANY_SIMULTANEOUS_QUERIES
            return self._failed(EngineError(code, f"{busy} ({code.name})"), query_id)
        self._running += 1
        try:
            return await self._answer(request)
        except EngineError as error:
            return self._failed(error, query_id)
        finally:
            self._running -= 1

    async def _answer(self, request: Request) -> Response:
        self._credentials.check(request.headers, request.query_params)
        is_form = request.headers.get("content-type", "").startswith("multipart/form-data")
        asked = QueryRequest.read(
            request.method, request.headers, request.query_params, with_form=is_form
        )
        exchange: Exchange | None = None
        async with aclosing(request.stream()) as chunks:
            body = RequestBody(chunks, asked, self._limits.body_bytes)
            try:
                if is_form:
                    asked = await with_form(request, asked, self._limits.body_bytes)
                    head, whole = asked.text, True
                else:
                    prefix = asked.text + b"\n" if asked.text else b""
                    first, whole = await body.head(_HEAD)
                    head = prefix + first
                exchange = Exchange(self._engine, self._sessions, asked)
                await self._on_thread(exchange.open)
                inserted = split_insert(head)
                if inserted is not None:
                    await self._on_thread(partial(exchange.start_insert, inserted))
                    await self._on_thread(partial(exchange.feed, head[inserted.data_offset :]))
                    async for piece in body.pieces():
                        await self._on_thread(partial(exchange.feed, piece))
                    await self._on_thread(exchange.finish_insert)
                    return await self._written(exchange, asked)
                if not whole:
                    head += b"".join([piece async for piece in body.pieces()])
                await self._on_thread(partial(exchange.start, head))
                return await answer(exchange, asked, self._engine, self._on_thread)
            except EngineError:
                await self._abandon(exchange)
                if not is_form:
                    await body.drain()
                raise
            except BaseException:
                # The client has gone, or the server stops: nothing of the query may stay behind.
                await self._abandon(exchange)
                raise

    async def _written(self, exchange: Exchange, asked: QueryRequest) -> Response:
        await self._abandon(exchange)
        fields = replies.headers(self._engine, asked.query_id, None, exchange.summary)
        return Response(b"", headers=fields)

    async def _abandon(self, exchange: Exchange | None) -> None:
        if exchange is not None:
            with anyio.CancelScope(shield=True):
                await self._on_thread(exchange.close)

    def _failed(self, error: EngineError, query_id: str) -> Response:
        return Response(
            replies.error_body(error, self._engine.version),
            status_code=replies.error_status(error),
            headers={
                "Content-Type": "text/plain; charset=UTF-8",
                "X-ClickHouse-Exception-Code": str(error.code),
                "X-ClickHouse-Server-Display-Name": self._engine.host_name,
                **({"X-ClickHouse-Query-Id": query_id} if query_id else {}),
            },
        )

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._limits.threads)
        return await anyio.to_thread.run_sync(work, limiter=self._threads)
