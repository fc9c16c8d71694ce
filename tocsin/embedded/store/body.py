"""The request body: decompressed as it comes, bounded, first by a head and then by pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tocsin.embedded.store.blocks import BlockDecoder
from tocsin.embedded.store.codings import Decoder, decoder
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.query import QueryRequest
from tocsin.embedded.store.statuses import ErrorCode

__all__ = ["RequestBody"]

_PIECE = 1 << 20


class RequestBody:
    """Plain bytes of a body, at most `limit` of them, however small they were when compressed."""

    def __init__(self, chunks: AsyncIterator[bytes], request: QueryRequest, limit: int) -> None:
        steps: list[Decoder | None] = [
            decoder(request.content_encoding),
            BlockDecoder() if request.decompress_blocks else None,
        ]
        self._decoders = [step for step in steps if step is not None]
        self._chunks = chunks
        self._left = limit
        self._limit = limit
        self._ended = False

    async def head(self, size: int) -> tuple[bytes, bool]:
        """Read until `size` bytes are there; give them and whether the body ended with them.

        Raises:
            EngineError: broken compression, or more than the limit.
        """
        buffer = bytearray()
        while len(buffer) < size and not self._ended:
            buffer += await self._next()
        return bytes(buffer), self._ended

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the rest in pieces of about a MiB. Raises: EngineError as `head` does."""
        buffer = bytearray()
        while not self._ended:
            buffer += await self._next()
            if len(buffer) >= _PIECE:
                yield bytes(buffer)
                buffer.clear()
        if buffer:
            yield bytes(buffer)

    async def drain(self) -> None:
        """Read and forget the rest, so that the client gets to read the answer."""
        async for _ in self._chunks:
            pass

    async def _next(self) -> bytes:
        data = await anext(self._chunks, None)
        if data is None:
            self._ended = True
            data = b""
        for step in self._decoders:
            data = step.decode(data)
            if self._ended:
                data += step.finish()
        self._left -= len(data)
        if self._left < 0:
            raise EngineError(
                ErrorCode.QUERY_IS_TOO_LARGE,
                f"the request body is larger than {self._limit} bytes. (QUERY_IS_TOO_LARGE)",
            )
        return data
