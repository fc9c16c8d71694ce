"""Hand an upstream's answer to the client, and be honest when it breaks."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from schemas.event import Operation
from serving.emit.joined import FACTS_HEADER
from serving.emit.middleware import Send
from serving.gateway.attempt import Opened, Trouble
from serving.gateway.dialect import GarbageError
from serving.gateway.flow import Flow
from serving.gateway.replies import Reply, error_event
from serving.gateway.whole_events import EndlessEventError, WholeEvents

__all__ = ["relay", "send_reply"]

_STREAM_HEADERS: Final = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_FACTS: Final = FACTS_HEADER.decode()

_ENDINGS: Final = {
    Trouble.BROKEN: ("upstream_died", "The upstream broke off in the middle of the answer."),
    Trouble.TIMEOUT: ("upstream_stalled", "The upstream fell silent in the middle of the answer."),
    Trouble.BAD_ANSWER: ("upstream_garbage", "The upstream sent what is no answer."),
}


async def send_reply(reply: Reply, flow: Flow, send: Send) -> None:
    """Send an answer of the gateway's own."""
    length = (b"content-length", str(len(reply.body)).encode())
    head = {"type": "http.response.start", "status": reply.status}
    await send({**head, "headers": [*reply.headers, length]})
    flow.unwatch()
    await send({"type": "http.response.body", "body": reply.body})


async def relay(
    opened: Opened,
    operation: Operation,
    events: WholeEvents,
    flow: Flow,
    send: Send,
    *,
    limit: int,
) -> Trouble | None:
    """Send all of an answer; return what went wrong with the upstream after the client had a part.

    The client is told of it in the stream, in the form that its API has for that.

    Args:
        opened: the answer.
        operation: decides the form of an error.
        events: cuts the stream.
        flow: of the request.
        send: to the client.
        limit: bytes; a longer answer is cut off.
    """
    if opened.whole:
        events.facts = opened.response.headers.get(_FACTS, "").encode("latin-1", "replace")
        await send_reply(
            Reply(opened.status, opened.body, ((b"content-type", opened.content_type),)), flow, send
        )
        return None
    flow.streaming = True
    headers = [(b"content-type", opened.content_type), *_STREAM_HEADERS]
    await send({"type": "http.response.start", "status": opened.status, "headers": headers})
    trouble: Trouble | None = None
    size = 0
    chunk = opened.body
    try:
        while chunk:
            size += len(chunk)
            if size > limit:
                trouble = Trouble.BAD_ANSWER
                break
            if whole := events.feed(chunk):
                await send({"type": "http.response.body", "body": whole, "more_body": True})
            chunk = await opened.read()
    except (EndlessEventError, GarbageError):
        trouble = Trouble.BAD_ANSWER
    except asyncio.CancelledError:
        raise
    except TimeoutError:  # aiohttp's, between two reads
        trouble = Trouble.TIMEOUT
    except aiohttp.ClientError:
        trouble = Trouble.BROKEN
    if trouble is None:
        last = events.rest()
    else:
        kind, message = _ENDINGS[trouble]
        last = error_event(operation, kind, message, 502)
    flow.unwatch()
    await send({"type": "http.response.body", "body": last})
    return trouble
