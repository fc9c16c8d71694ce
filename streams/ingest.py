"""Take in ``llm.requests``: validate, price, store, window, sample; then acknowledge.

The order is what makes it exact: an offset is committed only after the store has acknowledged the
rows and ``llm.windows`` the partial windows that hold its events. Nothing escapes the agent's body,
for Faust would acknowledge and lose what it was working on.

Three things go on at once: the agent gathers chunks while the batch before is decoded, in a thread
of its own, and that while those before it are inserted, together, for an insert of few rows costs
nearly as much as one of many. So batches and inserts grow with the load by themselves, and memory
is bounded by a few of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

from schemas.settings import Settings
from streams.chunk import Chunk
from streams.errors import AbandonedError
from streams.gather import Gathered
from streams.prepare import Prepared, Preparer
from streams.replay import Known, Replay
from streams.retry import until_done
from streams.storing import Storing
from streams.windows import WindowsAgent

__all__ = ["Assignment", "IngestAgent"]

_LINGER_S: Final = 0.03
_INSERT_EVENTS: Final = 40_000
"""How many events of a backlog go to the store in one insert; so many wait for it at most."""
_FILL_S: Final = 2.0
_LOOK_S: Final = 0.02


class Assignment(Protocol):
    """What knows which records are this worker's: the application."""

    @property
    def turn(self) -> int:
        """Return what tells chunks of this assignment from older ones."""

    def hold(self, events: Iterable[Any]) -> None:
        """Let Faust wait no more for these events; see ``App.hold``."""

    def behind(self) -> int:
        """Return how many records the log is known to hold beyond these; see ``App.behind``."""


@dataclass(frozen=True, slots=True)
class _Work:
    """Faust events of one assignment, and what is to be done of them."""

    turn: int
    events: Sequence[Any]
    parts: Sequence[Prepared] = ()

    @property
    def size(self) -> int:
        """Return how many events it holds, refused records among them, and 1 for none."""
        return max(1, sum(max(len(part.batch), part.records) for part in self.parts))

    @property
    def records(self) -> int:
        """Return how many records it was decoded from."""
        return sum(part.records for part in self.parts)


class IngestAgent:
    """Turns records into rows, partial windows and judge samples, each event once."""

    def __init__(
        self,
        settings: Settings,
        storing: Storing,
        replay: Replay,
        preparer: Preparer,
        windows: WindowsAgent,
        assignment: Assignment,
    ) -> None:
        self._settings = settings.streams
        self._storing = storing
        self._replay = replay
        self._preparer = preparer
        self._windows = windows
        self._assignment = assignment
        self._gathered: Gathered[Any] = Gathered(settings.streams.batch_bytes)
        self._prepared: Gathered[_Work] = Gathered(_INSERT_EVENTS)
        self._busy = 0
        self._events_a_record = 1.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")
        self._abandoned = False

    def revoked(self, partitions: Iterable[int]) -> None:
        """Forget what is known of partitions that others may read from now on."""
        self._replay.forget(partitions)

    def assigned(self) -> None:
        """Begin anew with what the group has assigned: it is read from what is committed."""
        self._abandoned = False

    async def run(self, stream: Any) -> None:
        """Gather the stream's chunks for ever; the Faust agent's body."""
        async for event in stream.noack().events():
            await self._gathered.put(event, event.value.size)

    async def work(self) -> None:
        """Process what is gathered, for ever, beside the agent."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._decode())
            both.create_task(self._store())

    async def _decode(self) -> None:
        while True:
            if not self._busy:
                # At rest: what came first has more at its heels.
                await self._gathered.wait()
                await asyncio.sleep(_LINGER_S)
            events = await self._gathered.take()
            self._busy += 1
            work = await self._prepare(events)
            await self._prepared.put(work, work.size)
            del events, work  # or they would live until more comes

    async def _store(self) -> None:
        size = 0
        while True:
            await self._prepared.wait()
            await self._fill(2 * size)
            due = asyncio.create_task(asyncio.sleep(self._settings.batch_within_s))
            size = await self._finish_those(await self._prepared.take())
            await due

    async def _finish_those(self, works: Sequence[_Work]) -> int:
        """Finish batches and return their size; nobody holds them while more is waited for."""
        await self._finish(works)
        self._busy -= len(works)
        size = sum(work.size for work in works)
        self._events_a_record = size / max(1, sum(work.records for work in works))
        return size

    async def _fill(self, size: int) -> None:
        """Wait until so many events wait for the store, while more than these are to come.

        The store pays for each insert, in up to four tables, and for merging what it wrote: 50,000
        rows at once cost it half of what they cost in pieces of 15,000, and 40,000 little more.
        Sizes double from one insert to the next, so that it does not stand idle before the first,
        and halve towards a backlog's end, so that not all of it is still to be stored when it has
        been read. Who has no backlog never waits.
        """
        until = time.monotonic() + _FILL_S
        size = min(size, _INSERT_EVENTS)
        while self._prepared.size < size and self._more(len(self._prepared)):
            to_come = self._assignment.behind() * self._events_a_record
            if self._prepared.size > to_come or time.monotonic() >= until:
                return
            await asyncio.sleep(_LOOK_S)

    def _more(self, here: int) -> bool:
        """Tell whether something comes behind the given number of batches."""
        return bool(self._gathered or self._busy > here or self._assignment.behind())

    async def process(self, events: Sequence[Any]) -> None:
        """Take in some Faust events whose values are chunks, alone and to the end."""
        await self._finish([await self._prepare(events)])

    async def _prepare(self, events: Sequence[Any]) -> _Work:
        """Decode what is of this assignment; learn first what is known of partitions that are new.

        What is left of an assignment that is over will be read again by whoever has it now.
        """
        turn = self._assignment.turn
        current = [event for event in events if event.value.turn == turn]
        self._assignment.hold(event for event in events if event.value.turn != turn)
        chunks = [event.value for event in current]
        try:
            await self._learn(chunks)
            known = self._known(chunks)
            if not chunks:
                return _Work(turn, current)
            loop = asyncio.get_running_loop()
            parts = await loop.run_in_executor(self._thread, self._preparer.prepare, chunks, known)
            return _Work(turn, current, parts)
        except AbandonedError:
            self._abandoned = True
            return _Work(turn, current)
        finally:
            for event in events:
                event.value.release()

    async def _learn(self, chunks: Sequence[Chunk]) -> None:
        firsts: dict[int, int] = {}
        for chunk in chunks:
            firsts.setdefault(chunk.partition, chunk.offsets[0])
        new = self._replay.unknown(firsts)
        if new:
            # First the fence, then the look at what lies before it.
            fences = await until_done("announcement", lambda: self._windows.announce(new))
            ids = await until_done("learn", lambda: self._replay.learn(firsts, fences))
            self._preparer.learn(ids)

    def _known(self, chunks: Sequence[Chunk]) -> dict[int, Known]:
        partitions = {chunk.partition for chunk in chunks}
        known = self._replay.known(partitions)
        if len(known) < len(partitions):
            raise AbandonedError("partitions have gone meanwhile")
        return known

    async def _finish(self, works: Sequence[_Work]) -> None:
        """Store, window and sample; then have the events acknowledged with the windows' flush.

        Once a batch is abandoned every later one is, until partitions are assigned anew: what they
        hold counts on what was before it.
        """
        try:
            await self._carry_out(works)
        except AbandonedError:
            self._abandoned = True
        for work in works:
            if self._is_over(work):
                self._preparer.forget(work.parts)
            else:
                self._windows.acknowledge_later(work.events)
            self._assignment.hold(work.events)
        if not self._more(len(works)):
            await self._windows.flush()  # nothing is behind: say at once what there is

    def _is_over(self, work: _Work) -> bool:
        return self._abandoned or work.turn != self._assignment.turn

    async def _carry_out(self, works: Sequence[_Work]) -> None:
        """Take in micro-batches, in one insert.

        Raises:
            AbandonedError: the store is away and the worker leaving.
        """
        for work in works:
            if not self._is_over(work):
                await self._storing.refuse([r for part in work.parts for r in part.refusals])
        # Who learns of a partition anew asks after these rows: none may be on their way later.
        parts = [part for work in works if not self._is_over(work) for part in work.parts]
        if parts:
            await self._storing.store(parts)
