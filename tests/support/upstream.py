"""A scripted upstream on a real socket: it answers as the test says, faults included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import orjson

__all__ = [
    "DONE",
    "Call",
    "Upstream",
    "body",
    "die",
    "error",
    "ok",
    "piece",
    "raw",
    "running_upstream",
    "stall",
    "stream",
]

DONE = b"data: [DONE]\n\n"


@dataclass
class Call:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        found: dict[str, object] = orjson.loads(self.body)
        return found


Act = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Upstream:
    """Where it is, what it was asked, and what it will do: `script` in order, then `act`."""

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    script: list[Act] = field(default_factory=list)
    act: Act | None = None
    gone: int = 0
    """Requests whose sender left before the answer was over."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


def body(content: str = "hello", **more: object) -> bytes:
    """Return a whole chat answer."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return orjson.dumps({"id": "x", "model": "m", "choices": [choice], "usage": usage, **more})


def piece(text: str = " tok", **more: object) -> bytes:
    """Return one event of a chat stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return (
        b"data: " + orjson.dumps({"id": "x", "model": "m", "choices": [choice], **more}) + b"\n\n"
    )


def raw(data: bytes, *, close: bool = True) -> Act:
    """Send these bytes, whatever they are."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if close:
            writer.close()

    return act


def ok(content: bytes | None = None, *, status: int = 200, **headers: str) -> Act:
    """Answer in one piece."""
    data = body() if content is None else content
    named = {"content-type": "application/json", "content-length": str(len(data))}
    named |= {k.replace("_", "-"): v for k, v in headers.items()}
    head = "".join(f"{k}: {v}\r\n" for k, v in named.items())
    return raw(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data, close=False)


def error(status: int, kind: str = "ServerError", **headers: str) -> Act:
    """Answer with an error in OpenAI's shape."""
    content = {"error": {"message": "no", "type": kind, "param": None, "code": status}}
    return ok(orjson.dumps(content), status=status, **headers)


def stream(
    *chunks: bytes | float, end: bool = True, kind: str = "text/event-stream", **headers: str
) -> Act:
    """Answer with a stream of chunks; a number is a pause. Without `end` the connection breaks."""
    named = {"content-type": kind, "transfer-encoding": "chunked"}
    named |= {k.replace("_", "-"): v for k, v in headers.items()}
    head = "".join(f"{k}: {v}\r\n" for k, v in named.items())

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
        for chunk in chunks:
            if isinstance(chunk, bytes):
                writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await writer.drain()
                await asyncio.sleep(0.001)
            else:
                await asyncio.sleep(chunk)
        if end:
            writer.write(b"0\r\n\r\n")
        else:
            writer.transport.abort()

    return act


def stall(seconds: float = 60) -> Act:
    """Say nothing."""

    async def act(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)

    return act


def die() -> Act:
    """Cut the connection without a word."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    return act


@asynccontextmanager
async def running_upstream(act: Act | None = None, port: int = 0) -> AsyncIterator[Upstream]:
    """Run one; by default it answers well."""
    upstream = Upstream(act=act or ok())
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                pairs = (line.split(": ", 1) for line in head[1:] if ": " in line)
                headers = {name.lower(): value for name, value in pairs}
                content = await reader.readexactly(int(headers.get("content-length", "0")))
                upstream.calls.append(Call(head[0].split()[1], headers, content))
                act = upstream.script.pop(0) if upstream.script else upstream.act
                assert act is not None
                answering = asyncio.ensure_future(act(writer))
                leaving = asyncio.ensure_future(_left(reader))
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                leaving.cancel()
                if not answering.done():
                    upstream.gone += 1
                    answering.cancel()
                    return
                with suppress(asyncio.CancelledError):
                    await leaving
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for writer in list(writers):
            writer.transport.abort()
        await asyncio.sleep(0)


async def _left(reader: asyncio.StreamReader) -> None:
    """Return when the sender has closed; nothing else comes while it waits for its answer."""
    while not reader.at_eof():  # noqa: ASYNC110 - a reader tells of its end in no other way
        await asyncio.sleep(0.005)
