"""The ASGI middleware that reports every request of a model server.

    vllm serve MODEL --middleware serving.emit.middleware.TocsinMiddleware

It configures itself from `TOCSIN_*` variables. Chunks are passed on before they are looked at, and
no error of its own ever reaches a request: each step is contained and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any, Final

from schemas.event import Operation
from serving.emit.counters import contained
from serving.emit.emission import Emission, shared_emission
from serving.emit.error_class import error_class
from serving.emit.exchange import Exchange
from serving.emit.joined import FACTS_HEADER, FACTS_MARK, STREAMED_FACTS, asks_to_join
from serving.emit.operations import operation_of
from serving.emit.request import parse_headers
from serving.emit.request_id import new_request_id
from serving.emit.span_mark import mark_spans
from serving.emit.trace_mark import mark_trace

__all__ = ["EXCHANGE_KEY", "ASGIApp", "Message", "Receive", "Scope", "Send", "TocsinMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID: Final = b"x-request-id"
EXCHANGE_KEY: Final = "tocsin.exchange"
"""Where the scope holds the `Exchange` of a request that is watched."""


class TocsinMiddleware:
    """Watch requests that make a model compute; pass everything else through untouched.

    Args:
        app: the application.
        emission: where events go; by default what the process shares, from the environment.
    """

    def __init__(self, app: ASGIApp, emission: Emission | None = None) -> None:
        self.app = app
        if emission is None:
            try:
                emission = shared_emission()
            except Exception as error:  # noqa: BLE001  # a model server must start in any case
                contained("start", error)
        self._emission = emission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        emission = self._emission
        if emission is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, _lifespan(emission, send))
        elif (operation := operation_of(scope)) is None or EXCHANGE_KEY in scope:
            await self.app(scope, receive, send)
        elif emission.gateway_token and asks_to_join(scope["headers"], emission.gateway_token):
            await self._tell(emission, operation, scope, receive, send)
        else:
            await self._watch(emission, operation, scope, receive, send)

    async def _watch(
        self, emission: Emission, operation: Operation, scope: Scope, receive: Receive, send: Send
    ) -> None:
        now = emission.clock.monotonic
        start_time_us = emission.clock.wall_ns() // 1_000
        try:
            exchange = _begin(emission, operation, scope, now())
        except Exception as error:  # noqa: BLE001
            contained("begin", error)
            await self.app(scope, receive, send)
            return

        async def watched_receive() -> Message:
            message = await receive()
            try:
                exchange.received(message, now())
            except Exception as error:  # noqa: BLE001
                contained("receive", error)
            return message

        async def watched_send(message: Message) -> None:
            at = now()
            if not message.get("more_body"):  # the first and the last; a chunk between says nothing
                try:
                    exchange.sending(message, at)
                    _tell_request_id(exchange, message)
                except Exception as error:  # noqa: BLE001
                    contained("sending", error)
            try:
                await send(message)
            except OSError:
                exchange.undeliverable(at)
                raise
            try:
                exchange.sent(message, at)
            except Exception as error:  # noqa: BLE001
                contained("sent", error)

        try:
            await self.app(scope, watched_receive, watched_send)
        except asyncio.CancelledError:
            exchange.cancelled = True
            raise
        except BaseException as error:
            exchange.crashed = error_class(type(error).__name__)
            raise
        finally:
            try:
                emission.finish(exchange, scope, start_time_us)
            except Exception as error:  # noqa: BLE001
                contained("finish", error)

    async def _tell(
        self, emission: Emission, operation: Operation, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a request that a gateway reports, and tell it what only this server knows."""
        try:
            exchange = _begin(emission, operation, scope, emission.clock.monotonic())
        except Exception as error:  # noqa: BLE001
            contained("begin", error)
            await self.app(scope, receive, send)
            return

        async def telling_send(message: Message) -> None:
            if not message.get("more_body"):  # the first and the last
                try:
                    _add_facts(emission, exchange, scope, message)
                except Exception as error:  # noqa: BLE001
                    contained("tell", error)
            await send(message)

        await self.app(scope, receive, telling_send)


def _begin(emission: Emission, operation: Operation, scope: Scope, at: float) -> Exchange:
    """Start to watch; give the request an id where the client gave none, and mark its trace."""
    sender = parse_headers(scope["headers"])
    scope["headers"] = mark_trace(scope["headers"])
    if sender.request_id is None:
        sender = replace(sender, request_id=new_request_id())
        if not any(name.lower() == _REQUEST_ID for name, _ in scope["headers"]):
            made = (_REQUEST_ID, str(sender.request_id).encode())
            scope["headers"] = [*scope["headers"], made]
    text = emission.text
    exchange = Exchange(operation, sender, at, text_room=text.room, want_prompt=text.wants_prompt)
    scope[EXCHANGE_KEY] = exchange
    return exchange


def _tell_request_id(exchange: Exchange, message: Message) -> None:
    """Add the request's id to the answer, so that the client can send feedback on it."""
    if message["type"] != "http.response.start":
        return
    headers = list(message.get("headers", ()))
    if not any(name.lower() == _REQUEST_ID for name, _ in headers):
        value = str(exchange.sender.request_id).encode("latin-1", "replace")
        message["headers"] = [*headers, (_REQUEST_ID, value)]


def _add_facts(emission: Emission, exchange: Exchange, scope: Scope, message: Message) -> None:
    """Add what the server knows: a header of a whole answer, a comment at the end of a stream."""
    if message["type"] == "http.response.start":
        exchange.sending(message, 0)
        headers = list(message.get("headers", ()))
        facts = STREAMED_FACTS if exchange.streaming else emission.facts(exchange, scope)
        message["headers"] = [*headers, (FACTS_HEADER, facts)]
    elif message["type"] == "http.response.body" and exchange.streaming:
        facts = emission.facts(exchange, scope)
        message["body"] = message.get("body", b"") + FACTS_MARK + facts + b"\n\n"


def _lifespan(emission: Emission, send: Send) -> Send:
    """Connect when the server has started, and flush before it says that it is down."""

    async def watched(message: Message) -> None:
        try:
            if message["type"] == "lifespan.startup.complete":
                emission.sink.start()
                mark_spans()
            elif message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await asyncio.to_thread(emission.close)
        except Exception as error:  # noqa: BLE001
            contained("lifespan", error)
        await send(message)

    return watched
