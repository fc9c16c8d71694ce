"""Request bodies of bounded size, and the detour through an ordered fault."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from tocsin.receiver.errors import BodyTooLargeError
from tocsin.receiver.faults import Fault, FaultBox

__all__ = ["meet_faults", "read_body"]


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body.

    Raises:
        BodyTooLargeError: as soon as it exceeds ``limit`` bytes; the rest is not kept.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise BodyTooLargeError(f"{HTTPStatus(413).phrase}: at most {limit} bytes are taken")
        parts.append(part)
    return b"".join(parts)


async def meet_faults(
    faults: FaultBox,
    target: str,
    work: Callable[[], Awaitable[Response]],
    refuse: Callable[[Fault], Response],
) -> Response:
    """Answer a request by ``work``, unless a fault was ordered for ``target``."""
    fault = faults.next(target)
    if fault is None:
        return await work()
    await asyncio.sleep(fault.delay_s)
    if fault.status is None:
        return await work()
    if fault.when == "after":
        await work()
    answer = refuse(fault)
    answer.headers.update(fault.headers)
    return answer
