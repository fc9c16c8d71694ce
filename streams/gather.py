"""What comes in while the batch before is worked on, up to a bound of bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

__all__ = ["Gathered"]


class Gathered:
    """Holds Faust events whose values are chunks until they are taken as one micro-batch.

    Args:
        limit: bytes of values; with that many in hand ``put`` waits, and so do agent and fetcher.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[Any] = deque()
        self._size = 0
        self._changed = asyncio.Condition()

    @property
    def empty(self) -> bool:
        """Tell whether nothing waits to be taken."""
        return not self._events

    async def put(self, event: Any) -> None:
        """Add an event, once there is room for it; one that is larger than the bound goes alone."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._size < self._limit)
            self._events.append(event)
            self._size += event.value.size
            self._changed.notify_all()

    async def wait(self) -> None:
        """Wait until there is something."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._events)

    async def take(self) -> list[Any]:
        """Return what is there, oldest first, once there is something."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._events)
            taken = list(self._events)
            self._events.clear()
            self._size = 0
            self._changed.notify_all()
        return taken
