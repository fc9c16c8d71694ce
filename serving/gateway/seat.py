"""A worker's place among the workers of a gateway, and its link to the process that started it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import Self

__all__ = ["Link", "Seat"]


@dataclass(frozen=True, slots=True)
class Seat:
    """What a worker is told on its command line.

    Attributes:
        index: from 0.
        count: of all workers.
        port: where all of them listen.
        link: descriptor of the socket to the process that started it.
        buckets: descriptor of the shared rate limits.
    """

    index: int
    count: int
    port: int
    link: int
    buckets: int

    def __str__(self) -> str:
        return ":".join(map(str, astuple(self)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the seat that a text names.

        Raises:
            ValueError: it names none.
        """
        parts = [int(part) for part in text.split(":")]
        if len(parts) != 5 or min(parts) < 0 or parts[0] >= parts[1]:
            raise ValueError("a worker's seat is INDEX:COUNT:PORT:LINK:BUCKETS")
        return cls(*parts)

    def share(self, whole: int) -> int:
        """Return this worker's part of a number that all of them divide, at least 1."""
        return max(1, whole // self.count + (self.index < whole % self.count))


class Link:
    """The worker's end: says that it serves, and hears when nobody is left to serve for."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)

    def ready(self) -> None:
        """Say that the worker serves."""
        with suppress(OSError):
            self._socket.send(b"+")

    def stop_with_it(self, stop: asyncio.Event) -> None:
        """Set `stop` when the other end is gone, however it went; to be called on the loop."""
        loop = asyncio.get_running_loop()

        def heard() -> None:
            loop.remove_reader(self._socket)
            stop.set()

        loop.add_reader(self._socket, heard)
