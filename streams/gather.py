"""What comes in while what was before it is worked on, up to a bound."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Gathered"]

T = TypeVar("T")


class Gathered(Generic[T]):
    """Holds items until all of them are taken at once.

    Args:
        limit: with items of that size in hand ``put`` waits, and so does all that comes before it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._size = 0
        self._changed = asyncio.Condition()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size(self) -> int:
        """Return the size of what waits to be taken."""
        return self._size

    async def put(self, item: T, size: int = 1) -> None:
        """Add an item, once there is room for it; one that is larger than the bound goes alone."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._size < self._limit)
            self._items.append(item)
            self._size += size
            self._changed.notify_all()

    async def wait(self) -> None:
        """Wait until there is something."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._items)

    async def take(self) -> list[T]:
        """Return what is there, oldest first, once there is something."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._items)
            taken = list(self._items)
            self._items.clear()
            self._size = 0
            self._changed.notify_all()
        return taken
