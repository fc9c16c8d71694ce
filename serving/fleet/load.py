"""Replay a trace of arrivals against a fleet, as users would: streams, aborts and thumbs too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import aiohttp

from schemas.feedback import FeedbackEvent
from schemas.flag import FlagKey
from serving.flags.reader import FlagReader
from serving.fleet.users import Arrival, Visit, Visits
from serving.fleet.verdict import thumb_for

__all__ = ["LoadCounts", "LoadDriver"]

_ERROR = b'data: {"error"'
_DONE = b"data: [DONE]"


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """What has become of the requests so far.

    ``sent`` have been begun; each ends as exactly one of the others. ``unreached`` never got to a
    server, so no server can have reported them; ``aborted`` were left by the client on purpose.
    """

    planned: int = 0
    sent: int = 0
    ok: int = 0
    rejected: int = 0
    failed: int = 0
    aborted: int = 0
    unreached: int = 0
    thumbs: int = 0
    by_provider: tuple[tuple[str, int], ...] = ()

    @property
    def in_flight(self) -> int:
        """Return how many have not ended."""
        return self.sent - self.reached - self.unreached

    @property
    def reached(self) -> int:
        """Return how many have ended and were seen by a server."""
        return self.ok + self.rejected + self.failed + self.aborted


class LoadDriver:
    """Sends each arrival at its time to the provider that the flag names at that moment.

    Args:
        arrivals: the trace, ordered by time.
        urls: base URL (ending in /v1) by provider.
        flags: tells the provider; one that has no URL stands for the first.
        visits: who asks, and how.
        speed: how many times faster than the trace.
        feedback: takes the thumbs; None gives none.
        max_in_flight: what a client may hold open; beyond it arrivals wait.
        timeout_s: after which a client gives up.
    """

    def __init__(
        self,
        arrivals: Iterable[Arrival],
        urls: Mapping[str, str],
        flags: FlagReader,
        visits: Visits,
        *,
        speed: float = 1.0,
        feedback: Callable[[FeedbackEvent], Awaitable[None]] | None = None,
        max_in_flight: int = 2_000,
        timeout_s: float = 120,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._arrivals = list(arrivals)
        self._urls = dict(urls)
        self._flags = flags
        self._visits = visits
        self._speed = speed
        self._feedback = feedback
        self._room = asyncio.Semaphore(max_in_flight)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._now = now
        self._providers: dict[str, int] = {}
        self.counts = LoadCounts(planned=len(self._arrivals))

    async def run(self, *, every_s: float = 1.0) -> AsyncIterator[LoadCounts]:
        """Replay the trace; yield the counts every so often, and at the end once more."""
        task = asyncio.create_task(self._replay())
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=every_s)
                yield self.counts
            await task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _replay(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, auto_decompress=False
            ) as session,
            asyncio.TaskGroup() as group,
        ):
            begun = self._now()
            for number, arrival in enumerate(self._arrivals):
                due = begun + arrival.offset_s / self._speed
                if (left := due - self._now()) > 0:
                    await asyncio.sleep(left)
                await self._room.acquire()
                group.create_task(self._visit(session, self._visits.of(number, arrival)))

    async def _visit(self, session: aiohttp.ClientSession, visit: Visit) -> None:
        try:
            self._count("sent")
            answer: list[bytes] | None = [] if visit.thumb is not None else None
            outcome = await self._ask(session, visit, answer)
            self._count(outcome)
            if answer is not None and self._feedback is not None and outcome in ("ok", "failed"):
                await self._feedback(thumb_for(visit, b"".join(answer), ok=outcome == "ok"))
                self._count("thumbs")
        finally:
            self._room.release()

    async def _ask(
        self, session: aiohttp.ClientSession, visit: Visit, answer: list[bytes] | None
    ) -> str:
        """Return which of the counts the request belongs to."""
        url = f"{self._provider_url()}/chat/completions"
        reached = False
        try:
            async with session.post(url, data=visit.body, headers=visit.headers) as response:
                reached = True
                if response.status != 200:
                    await response.read()
                    return "failed" if response.status >= 500 else "rejected"
                return await _read(response, visit, answer)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return "failed" if reached else "unreached"

    def _provider_url(self) -> str:
        first = next(iter(self._urls))
        provider = self._flags.text(FlagKey.MODEL_PROVIDER, first)
        provider = provider if provider in self._urls else first
        self._providers[provider] = self._providers.get(provider, 0) + 1
        self.counts = replace(self.counts, by_provider=tuple(self._providers.items()))
        return self._urls[provider]

    def _count(self, name: str) -> None:
        self.counts = replace(self.counts, **{name: getattr(self.counts, name) + 1})


async def _read(response: aiohttp.ClientResponse, visit: Visit, answer: list[bytes] | None) -> str:
    """Read an answer of status 200 to its end, or as far as this client has the patience."""
    pieces = 0
    tail = b""
    async for chunk in response.content.iter_any():
        pieces += 1
        if answer is not None:
            answer.append(chunk)
        if _ERROR in tail + chunk:
            await response.read()
            return "failed"
        tail = chunk[-64:]
        if visit.leaves_after is not None and pieces >= visit.leaves_after and _DONE not in tail:
            response.close()  # drops the connection, as a closed browser tab does
            return "aborted"
    return "ok" if not visit.stream or _DONE in tail else "failed"
