"""Server-Sent Events: every change to every page that looks, and no page can hold the rest back.

A page first gets a ``snapshot``, then changes. One that reads too slowly loses its queue and gets
a new snapshot instead, so that memory is bounded and what it shows is right again.
Source: WHATWG HTML, section 9.2.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

__all__ = ["Feed"]

_KEEP_ALIVE_S: Final = 15


class Feed:
    """The pages that listen, each with a bounded queue."""

    def __init__(self, snapshot: Callable[[], dict[str, Any]], queue: int = 256) -> None:
        self._snapshot = snapshot
        self._queue = queue
        self._listeners: set[_Listener] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._listeners)

    def publish(self, kind: str, data: object) -> None:
        """Hand a change to every listener without waiting for any."""
        if not self._listeners:
            return
        message = _encode(kind, data)
        for listener in self._listeners:
            listener.offer(message)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        for listener in self._listeners:
            listener.wake.set()

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the bytes of one page's stream, from a snapshot on, until ``close``."""
        listener = _Listener(self._queue)
        self._listeners.add(listener)
        try:
            yield b"retry: 1000\n\n"
            while not self._closed:
                if listener.behind:
                    listener.behind = False
                    listener.waiting.clear()
                    yield _encode("snapshot", self._snapshot())
                while listener.waiting and not listener.behind:
                    yield listener.waiting.popleft()
                if listener.behind:
                    continue
                listener.wake.clear()
                try:
                    await asyncio.wait_for(listener.wake.wait(), _KEEP_ALIVE_S)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self._listeners.discard(listener)


class _Listener:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting: deque[bytes] = deque()
        self.behind = True  # a new listener needs the snapshot
        self.wake = asyncio.Event()

    def offer(self, message: bytes) -> None:
        if not self.behind:
            self.waiting.append(message)
            self.behind = len(self.waiting) > self.limit
        self.wake.set()


def _encode(kind: str, data: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
