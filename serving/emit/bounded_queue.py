"""A queue between a server's loop and the emitter's thread, bounded in number and in bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from schemas.base import Message

__all__ = ["BoundedQueue", "Entry"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A message, or what will make it, and about how many bytes it holds."""

    make: Callable[[], Message]
    size: int


class BoundedQueue:
    """First in, first out; when it is full the oldest goes, because an alarm needs the present.

    Every method is O(1) (amortized) and safe to call from any thread.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Return about how many bytes the entries hold."""
        return self._bytes

    def put(self, entry: Entry) -> int:
        """Append an entry; return how many were dropped for it (itself, if it alone is too big)."""
        if entry.size > self._max_bytes:
            return 1
        dropped = 0
        with self._lock:
            while (
                len(self._entries) >= self._max_entries
                or self._bytes + entry.size > self._max_bytes
            ):
                self._bytes -= self._entries.popleft().size
                dropped += 1
            self._entries.append(entry)
            self._bytes += entry.size
        return dropped

    def take(self, count: int) -> list[Entry]:
        """Remove and return up to `count` of the oldest entries."""
        with self._lock:
            taken = [self._entries.popleft() for _ in range(min(count, len(self._entries)))]
            self._bytes -= sum(entry.size for entry in taken)
        return taken

    def drain(self) -> int:
        """Drop everything; return how many that were."""
        with self._lock:
            count = len(self._entries)
            self._entries.clear()
            self._bytes = 0
        return count
