"""Read a request's body within bounds of size and time."""

from __future__ import annotations

import asyncio

from serving.emit.middleware import Receive
from serving.gateway import metrics
from serving.gateway.replies import Reply, error_reply

__all__ = ["read_body", "too_large"]


async def read_body(
    receive: Receive,
    *,
    limit: int,
    timeout_s: float,
    keep: bool = True,
) -> bytes | Reply | None:
    """Return the body, the error for the client, or None when the client left.

    Of a body that is too large as much again is read and thrown away, because many clients read no
    answer before they have sent everything; then the connection ends.

    Args:
        receive: of the request.
        limit: bytes.
        timeout_s: for all of it.
        keep: whether the body is wanted; else it is only read.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    parts.clear()
                elif part and keep:
                    parts.append(part)
                if not message.get("more_body", False) or size > 2 * limit:
                    break
    except TimeoutError:
        if size > limit:
            return too_large(limit)
        metrics.STALLED.labels("body").inc()
        return error_reply(
            408,
            "request_timeout",
            f"The request's body did not come within {timeout_s:g} s.",
            close=True,
        )
    return b"".join(parts) if size <= limit else too_large(limit)


def too_large(limit: int) -> Reply:
    """Return the answer to a body that is too large."""
    return error_reply(
        413,
        "request_too_large",
        f"The request's body is larger than {limit} bytes.",
        close=True,
    )
