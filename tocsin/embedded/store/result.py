"""A result on its way to the client: short ones whole, long ones piece by piece."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import IO, Any

import anyio
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tocsin.embedded.store import replies
from tocsin.embedded.store.blocks import BlockEncoder
from tocsin.embedded.store.codings import Encoder, choose_coding, encoder
from tocsin.embedded.store.engine import Engine
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.exchange import Exchange
from tocsin.embedded.store.query import QueryRequest

__all__ = ["OnThread", "answer"]

OnThread = Callable[[Callable[[], Any]], Awaitable[Any]]

# Held back before the first byte is sent, so that a query which fails early still gets its status.
_HELD = 1 << 20
_IN_MEMORY = 16 << 20
_PIECE = 1 << 20


async def answer(
    exchange: Exchange, asked: QueryRequest, engine: Engine, on_thread: OnThread
) -> Response:
    """Give the response to a query that has been started.

    Until this returns, the caller closes the exchange; afterwards the response does.

    Raises:
        EngineError: the query failed before anything was sent.
    """
    outgoing = _Outgoing(exchange, asked)
    held = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by the response
    size, ended = 0, False
    while not ended and (asked.wait_for_end or size < _HELD):
        piece, ended = await on_thread(outgoing.next)
        size += len(piece)
        await on_thread(partial(held.write, piece))
    held.seek(0)
    fields = replies.headers(engine, asked.query_id, exchange.format, exchange.summary)
    if outgoing.coding is not None:
        fields["Content-Encoding"] = outgoing.coding
    if ended:
        await on_thread(exchange.close)
        if size <= _HELD:
            with held:
                return Response(held.read(), headers=fields)
        fields["Content-Length"] = str(size)
        return _Sent(_file(held, on_thread), held, exchange, on_thread, fields)
    tag = replies.new_tag()
    fields["X-ClickHouse-Exception-Tag"] = tag
    parts = _parts(held, outgoing, on_thread, engine.version, tag)
    return _Sent(parts, held, exchange, on_thread, fields)


class _Sent(StreamingResponse):
    """Close the exchange and the held-back bytes when the client has them, or has gone."""

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        held: IO[bytes],
        exchange: Exchange,
        on_thread: OnThread,
        fields: dict[str, str],
    ) -> None:
        super().__init__(parts, headers=fields)
        self._held = held
        self._exchange = exchange
        self._on_thread = on_thread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._held.close()
            with anyio.CancelScope(shield=True):
                await self._on_thread(self._exchange.close)


class _Outgoing:
    """The result after compression: ClickHouse's blocks inside, the HTTP coding outside."""

    def __init__(self, exchange: Exchange, asked: QueryRequest) -> None:
        self._exchange = exchange
        self.coding = choose_coding(asked.accept_encoding)
        steps: list[Encoder | None] = [
            BlockEncoder() if asked.compress_blocks else None,
            encoder(self.coding) if self.coding else None,
        ]
        self._steps = [step for step in steps if step is not None]

    def next(self) -> tuple[bytes, bool]:
        """Give the next piece and whether it is the last. Raises: EngineError."""
        piece = self._exchange.fetch()
        return self.encode(piece, last=not piece), not piece

    def encode(self, data: bytes, *, last: bool) -> bytes:
        for step in self._steps:
            data = step.encode(data) if data else b""
            if last:
                data += step.finish()
        return data


async def _parts(
    held: IO[bytes], outgoing: _Outgoing, on_thread: OnThread, version: str, tag: str
) -> AsyncIterator[bytes]:
    async for piece in _file(held, on_thread):
        yield piece
    ended = False
    while not ended:
        try:
            piece, ended = await on_thread(outgoing.next)
        except EngineError as error:
            # The status is sent already: the error goes where the client looks for it, at the end.
            yield outgoing.encode(replies.error_within(error, version, tag), last=True)
            return
        for start in range(0, len(piece), _PIECE):
            yield piece[start : start + _PIECE]


async def _file(held: IO[bytes], on_thread: OnThread) -> AsyncIterator[bytes]:
    while piece := await on_thread(partial(held.read, _PIECE)):
        yield piece
