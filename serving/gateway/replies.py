"""Answers that the gateway gives itself, in OpenAI's shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import orjson

from schemas.event import Operation

__all__ = ["JSON", "Reply", "error_event", "error_reply", "json_reply"]

JSON: Final = (b"content-type", b"application/json")
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)


def json_reply(status: int, content: object) -> Reply:
    """Return an answer in JSON."""
    return Reply(status, orjson.dumps(content))


def error_reply(
    status: int,
    kind: str,
    message: str,
    *,
    code: str | int | None = None,
    param: str | None = None,
    retry_after_s: float | None = None,
    close: bool = False,
) -> Reply:
    """Return an error as OpenAI's clients understand it.

    Args:
        status: of HTTP.
        kind: the error's type, which also classes the event.
        message: for people; must hold nothing of what a user wrote.
        code: OpenAI's code; the status when None.
        param: the parameter at fault.
        retry_after_s: sent as Retry-After, in whole seconds (RFC 9110, 10.2.3).
        close: end the connection, because the rest of the request will not be read.
    """
    headers: Headers = [JSON]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(retry_after_s))).encode()))
    if close:
        headers.append((b"connection", b"close"))
    body = orjson.dumps(
        {
            "error": {
                "message": message,
                "type": kind,
                "param": param,
                "code": status if code is None else code,
            }
        }
    )
    return Reply(status, body, tuple(headers))


def error_event(operation: Operation, kind: str, message: str, status: int) -> bytes:
    """Return the server-sent event that tells of an error after a stream has begun.

    Each API has its own form: OpenAI's chat an object `error`, its Responses and Anthropic's
    Messages an event `error`.
    """
    if operation is Operation.RESPONSES:
        data = {"type": "error", "code": kind, "message": message, "param": None}
        return b"event: error\ndata: " + orjson.dumps(data) + b"\n\n"
    error = {"message": message, "type": kind, "param": None, "code": status}
    if operation is Operation.MESSAGES:
        return b"event: error\ndata: " + orjson.dumps({"type": "error", "error": error}) + b"\n\n"
    return b"data: " + orjson.dumps({"error": error}) + b"\n\ndata: [DONE]\n\n"
