"""Serve ASGI applications by uvicorn, in this process, until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import uvicorn

__all__ = ["Host", "serve_until"]


class Host(uvicorn.Server):
    """A server that leaves the signals to the process, and says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if not self.should_exit:
            self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve_until(
    stop: asyncio.Event,
    hosts: Sequence[tuple[Host, socket.socket]],
    ready: Callable[[], None] | None = None,
) -> None:
    """Serve until `stop` is set or one of the servers ends, then finish what runs.

    Args:
        stop: ends it.
        hosts: servers, each with the socket that it listens at.
        ready: called once all of them are up.
    """
    serving = [asyncio.create_task(host.serve(sockets=[sock])) for host, sock in hosts]
    stopping = asyncio.create_task(stop.wait())
    up = asyncio.create_task(_all_up(hosts))
    try:
        await asyncio.wait({up, *serving}, return_when=asyncio.FIRST_COMPLETED)
        if up.done() and ready is not None:
            ready()
        await asyncio.wait({stopping, *serving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        up.cancel()
        for host, _ in hosts:
            host.should_exit = True
        await asyncio.gather(*serving)


async def _all_up(hosts: Sequence[tuple[Host, socket.socket]]) -> None:
    for host, _ in hosts:
        await host.up.wait()
