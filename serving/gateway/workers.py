"""Several processes of one gateway: start them, keep them up, and end them together.

Each worker is a whole gateway with a socket of its own at the common address; the kernel spreads
the connections. One that dies takes its own connections with it and is started again; the others
notice nothing. docs/adr/0010-gateway.md says what workers share and what each has for itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from serving.errors import GatewayWorkerError
from serving.gateway.process import listen_at
from serving.gateway.seat import Seat
from serving.gateway.shared_buckets import make_shared

__all__ = ["Workers", "pause_s"]

_LONGEST_S: Final = 30.0
_WELL_S: Final = 60.0
"""A worker that has served for so long did not die of its start."""

_log = structlog.get_logger("tocsin.gateway")


def pause_s(deaths: int) -> float:
    """Return how long to wait before a worker is started again after so many deaths in a row.

    >>> [pause_s(deaths) for deaths in (1, 2, 3, 4, 20)]
    [0.0, 1.0, 2.0, 4.0, 30.0]
    """
    return 0.0 if deaths <= 1 else min(_LONGEST_S, 2.0 ** min(deaths - 2, 10))


class Workers:
    """The workers of one gateway.

    Args:
        count: how many.
        command: starts a worker, given its seat as the last argument.
        host: where all listen.
        port: there; 0 takes a free one.
        grace_s: how long they may take to end.
    """

    def __init__(
        self, count: int, command: Sequence[str], *, host: str, port: int, grace_s: float
    ) -> None:
        self._count = count
        self._command = tuple(command)
        self._host = host
        self._port = port
        self._grace_s = grace_s
        self._stop = asyncio.Event()
        self._serving: set[int] = set()

    async def run(self, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
        """Keep them running until `stop` is set, and end them.

        Args:
            stop: ends it.
            ready: told the base URL once all of them serve.

        Raises:
            GatewayAddressError: nobody can listen there.
            GatewayWorkerError: a worker ended before it served for the first time.
        """
        self._stop = stop
        if self._port:  # another gateway's address must not become ours
            listen_at(self._host, self._port).close()
        # Bound, but not listening: the address stays ours while a worker is started again.
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.socket(family) as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((self._host, self._port))
            self._port = held.getsockname()[1]
            buckets = make_shared()
            try:
                await self._keep_all(buckets, ready)
            finally:
                os.close(buckets)

    async def _keep_all(self, buckets: int, ready: Callable[[str], None]) -> None:
        def serving(index: int) -> None:
            self._serving.add(index)
            if len(self._serving) == self._count:
                host = f"[{self._host}]" if ":" in self._host else self._host
                ready(f"http://{host}:{self._port}/v1")

        async with asyncio.TaskGroup() as group:
            for index in range(self._count):
                group.create_task(self._keep(index, buckets, serving))

    async def _keep(self, index: int, buckets: int, serving: Callable[[int], None]) -> None:
        """Run one worker, and another one after it, until all are to end."""
        loop = asyncio.get_running_loop()
        deaths = 0
        while not self._stop.is_set():
            process, link = await self._start(index, buckets)
            since = loop.time()
            try:
                if await _says_so(link) and index not in self._serving:
                    serving(index)
                await self._until_over(process)
            finally:
                link.close()
                await self._end(process)
            if self._stop.is_set():
                return
            if index not in self._serving:
                self._stop.set()
                raise GatewayWorkerError(
                    f"worker {index} ended (exit code {process.returncode}) before it could serve; "
                    "what it has logged says why"
                )
            deaths = 1 if loop.time() - since >= _WELL_S else deaths + 1
            wait_s = pause_s(deaths)
            _log.error(
                "a worker has died and is started again",
                worker=index,
                pid=process.pid,
                code=process.returncode,
                in_s=wait_s,
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait_s)

    async def _start(self, index: int, buckets: int) -> tuple[Process, socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            seat = Seat(index, self._count, self._port, theirs.fileno(), buckets)
            process = await asyncio.create_subprocess_exec(
                *self._command, str(seat), pass_fds=(theirs.fileno(), buckets)
            )
        return process, ours

    async def _until_over(self, process: Process) -> None:
        """Return when a worker has ended, or all are to end."""
        ended = asyncio.create_task(process.wait())
        told = asyncio.create_task(self._stop.wait())
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, told):
            task.cancel()

    async def _end(self, process: Process) -> None:
        """End a worker, gently first."""
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self._grace_s)
        except TimeoutError:
            _log.error("a worker does not end and is killed", pid=process.pid)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _says_so(link: socket.socket) -> bool:
    """Wait until a worker says that it serves; False when it ended before."""
    with suppress(OSError):
        return await asyncio.get_running_loop().sock_recv(link, 1) == b"+"
    return False
