"""A client that notes what it saw of each request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from time import monotonic

import orjson

__all__ = ["Outcome", "Seen", "send"]

MESSAGES = [{"role": "user", "content": "hello"}]


class Outcome(StrEnum):
    """What became of a request, for its client."""

    OK = "ok"
    ERROR = "error"
    """A 5xx, or an error in the stream: told."""
    BROKEN = "broken"
    """The connection ended without a word: never to happen."""
    REJECTED = "rejected"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request."""

    request_id: str
    began: float
    outcome: Outcome
    status: int = 0


async def send(
    address: tuple[str, int], prefix: str, count: int, workers: int, random: Random
) -> list[Seen]:
    """Send requests, streams and others, of which some are wrong and some clients leave."""
    seen: list[Seen] = []
    numbers = iter(range(count))

    async def work() -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for number in numbers:
            fate, streams = random.random(), random.random() < 0.7
            request_id, began = f"{prefix}-{number}", monotonic()
            wrong, leaves = fate < 0.01, 0.01 <= fate < 0.02
            try:
                connection = connection or await asyncio.open_connection(*address)
                outcome, status = await _one(
                    *connection, request_id, streams=streams, wrong=wrong, leaves=leaves
                )
            except (ConnectionError, asyncio.IncompleteReadError):
                outcome, status = Outcome.BROKEN, 0
            seen.append(Seen(request_id, began, outcome, status))
            if connection is not None and outcome in (Outcome.BROKEN, Outcome.LEFT):
                connection[1].transport.abort()
                connection = None
        if connection is not None:
            connection[1].close()

    await asyncio.gather(*(work() for _ in range(workers)))
    return seen


async def _one(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request_id: str,
    *,
    streams: bool,
    wrong: bool,
    leaves: bool,
) -> tuple[Outcome, int]:
    body = orjson.dumps({"model": "assistant", "messages": MESSAGES, "stream": streams})
    if wrong:
        body = body[:-1]
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nX-Request-Id: {request_id}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    if leaves and not streams:
        await writer.drain()
        return Outcome.LEFT, 0
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(answer.split(b" ", 2)[1])
    if leaves:
        return Outcome.LEFT, status
    if b"content-length:" in answer:
        length = int(answer.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
    else:
        content = b""
        while not content.endswith(b"0\r\n\r\n"):
            more = await reader.read(65_536)
            if not more:
                raise ConnectionResetError
            content += more
        if b'"error"' in content:
            return Outcome.ERROR, status
        if b"[DONE]" not in content:
            return Outcome.BROKEN, status
    if status >= 500:
        return Outcome.ERROR, status
    return (Outcome.OK if status == 200 else Outcome.REJECTED), status
