from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import pytest

from tocsin.embedded.store.blocks import BlockEncoder
from tocsin.embedded.store.body import RequestBody
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.query import QueryRequest


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def request(coding: str = "", *, blocks: bool = False) -> QueryRequest:
    query = {"decompress": "1"} if blocks else {}
    return QueryRequest.read("POST", {"content-encoding": coding}, query)


async def test_a_head_and_then_pieces() -> None:
    data = bytes(range(256)) * 10_000
    body = RequestBody(chunks(data, 1000), request(), limit=len(data))
    head, whole = await body.head(5000)
    assert (head, whole) == (data[:5000], False)
    pieces = [piece async for piece in body.pieces()]
    assert head + b"".join(pieces) == data
    assert max(map(len, pieces)) < 2 << 20


async def test_a_short_body_is_its_head() -> None:
    body = RequestBody(chunks(b"abc", 1), request(), limit=100)
    assert await body.head(5000) == (b"abc", True)
    assert [piece async for piece in body.pieces()] == []


async def test_blocks_inside_a_coding() -> None:
    packed = gzip.compress(BlockEncoder().encode(b"rows" * 1000))
    body = RequestBody(chunks(packed, 7), request("gzip", blocks=True), limit=10_000)
    assert await body.head(10_000) == (b"rows" * 1000, True)


async def test_the_limit_counts_plain_bytes() -> None:
    packed = gzip.compress(b"x" * 100_000)
    body = RequestBody(chunks(packed, 100), request("gzip"), limit=99_999)
    with pytest.raises(EngineError, match="larger than 99999") as caught:
        await body.head(1_000_000)
    assert caught.value.code == 229
