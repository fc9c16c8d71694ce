"""Wait for something that happens elsewhere: in another process, thread or broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["until", "until_true"]

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], timeout_s: float = 20) -> T:
    """Return what `look` returns once it is true; time is only the bound of a failure."""
    async with asyncio.timeout(timeout_s):
        while not (found := await look()):  # noqa: ASYNC110 - what it looks at sets no event
            await asyncio.sleep(0.05)
        return found


def until_true(look: Callable[[], object], timeout_s: float = 20) -> None:
    """Return once `look` returns something true.

    Raises:
        TimeoutError: it never did.
    """
    deadline = time.monotonic() + timeout_s
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.01)
