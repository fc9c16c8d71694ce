"""First stage of the windows: what each partition of ``llm.requests`` adds, sent on as partials.

Offsets of taken-in events are acknowledged here, once the partial windows that hold them are in
``llm.windows``: what a crash interrupts is read again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import uuid4

import structlog

from detectors.window import WindowStore
from schemas.base import SCHEMA_VERSION
from schemas.clock import Elapsed
from schemas.columns import EventColumns
from schemas.settings import StreamSettings
from schemas.topics import Topics
from schemas.window import WindowBatch, WindowPartial
from streams import metrics
from streams.batch import Batch
from streams.errors import AbandonedError, StoreUnavailableError
from streams.letters import Publishes
from streams.replay import source_name
from streams.tail import Fence

__all__ = ["MAX_MESSAGE_BYTES", "Reading", "WindowsAgent"]

log = structlog.get_logger(__name__)

MAX_MESSAGE_BYTES: Final = 900_000
"""Apache Kafka takes 1 MiB unless told otherwise; larger flushes go in several messages."""

_OPEN_FLUSHES: Final = 4

_KEY_BYTES: Final = 6
"""A sketch's key in JSON, such as ``-2072,``: detectors.buckets bounds them."""


class Reading(Protocol):
    """What knows how far partitions are read: the application."""

    @property
    def leaving(self) -> bool:
        """Tell whether the worker stops, or its partitions are about to move."""

    def may_write(self) -> bool:
        """Tell whether this worker's partitions are surely still its own."""

    def caught_up(self, partition: int) -> bool:
        """Tell whether all that a partition of ``llm.requests`` holds is taken in."""

    def behind(self) -> int:
        """Return how many records the log is known to hold beyond these; see ``App.behind``."""


@dataclass(slots=True)
class _Source:
    """One partition's open partials since it was assigned to this worker."""

    store: WindowStore
    heard_us: int
    epoch: str = field(default_factory=lambda: uuid4().hex)
    fence: int | None = None
    sequence: int = 0
    watermark_us: int = 0
    told_watermark_us: int = 0
    up_to_offset: int | None = None
    changed: bool = False
    idle: bool = False
    idle_said_us: int = 0


class WindowsAgent:
    """Gathers events into partial windows by partition and flushes them every ``flush_s``."""

    def __init__(
        self, settings: StreamSettings, publisher: Publishes, elapsed: Elapsed, reading: Reading
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._elapsed = elapsed
        self._reading = reading
        self._sources: dict[int, _Source] = {}
        self._unacknowledged: list[Any] = []
        self._outgoing: list[tuple[str, WindowBatch]] = []
        self._since_us = elapsed()
        self._hurried_at_us = 0
        self._lock = asyncio.Lock()

    def add(self, *batches: Batch) -> None:
        """Add micro-batches, oldest first, to their partitions' open windows: all in one step each.

        Should one event be more than the arithmetic can take, it alone is left out, and counted.
        """
        if not self._outgoing and not any(source.changed for source in self._sources.values()):
            self._since_us = self._elapsed()  # nothing waited to be sent on
        parts: defaultdict[int, list[Batch]] = defaultdict(list)
        for batch in batches:
            for partition, part in batch.by_partition():
                parts[partition].append(part)
        for partition, some in parts.items():
            columns = EventColumns.join([part.columns for part in some])
            source = self._source(partition)
            try:
                source.store.add(columns)
            except Exception:
                log.exception("window_refuses", partition=partition, events=len(columns))
                _add_one_by_one(source.store, columns)
            latest = int(columns.ints("end_time_us").max())
            source.watermark_us = max(source.watermark_us, latest - self._settings.lateness_us, 0)
            source.up_to_offset = int(some[-1].origin.offsets[-1])
            source.heard_us = self._elapsed()
            source.changed, source.idle = True, False

    def acknowledge_later(self, events: Sequence[Any]) -> None:
        """Acknowledge these Faust events with the next flush."""
        self._unacknowledged.extend(events)

    async def announce(self, partitions: Iterable[int]) -> dict[int, Fence]:
        """Say on ``llm.windows`` that these partitions are this worker's; return where.

        Nothing that an earlier owner sends behind it counts (``detectors.fences``).

        Raises:
            AbandonedError: they may be another's by now, and the worker is leaving.
            StoreUnavailableError: they may be another's by now.
            Exception: the broker did not take it.
        """
        async with self._lock:
            sources = {partition: self._source(partition) for partition in partitions}
            await self._announce(sources)
        return {p: Fence(s.fence or 0) for p, s in sources.items()}

    async def _announce(self, sources: Mapping[int, _Source]) -> None:
        new = {p: s for p, s in sources.items() if s.fence is None}
        if not new:
            return
        if not self._reading.may_write():
            if self._reading.leaving:
                raise AbandonedError("this worker's partitions move")
            raise StoreUnavailableError("the group has not confirmed this worker lately")
        messages = [self._message(partition, source, ()) for partition, source in new.items()]
        items = [(message.source, message) for message in messages]
        offsets = await self._publisher.send_many(Topics.WINDOWS, items)
        for source, offset in zip(new.values(), offsets, strict=True):
            source.fence = offset

    async def flush_if_due(self) -> None:
        """Flush at once when that closes a window, ``flush_s`` after the first news while it may.

        Partials of a window that is still open are of no use to anybody yet, and sketches are dear
        to write and to read: without a window to close, flushes are fewer, and so they are in a
        backlog, where more of the same windows is at hand.
        """
        scale = self._settings.time_scale
        now_us, flush_us = self._elapsed(), self._settings.flush_s / scale * 1e6
        # A backlog ends windows faster than time does, and has no use for haste.
        if self._closes() and now_us - self._hurried_at_us >= self._settings.window_us / scale / 2:
            self._hurried_at_us = now_us
            await self.flush()
            return
        may_close = any(self._may_close(source) for source in self._sources.values())
        if not may_close or self._reading.behind():
            flush_us *= _OPEN_FLUSHES
        if now_us - self._since_us >= flush_us:
            await self.flush()

    def _closes(self) -> bool:
        """Tell whether the last partition to end a window has: it waits for nothing but a flush."""
        size_us = self._settings.window_us
        heard = [source for source in self._sources.values() if not source.idle]
        ended = min((source.watermark_us // size_us for source in heard), default=0)
        told = min((source.told_watermark_us // size_us for source in heard), default=0)
        return ended > told

    def _may_close(self, source: _Source) -> bool:
        """Tell whether a source has news by which windows may close: of an end, or of silence."""
        size_us = self._settings.window_us
        ended = source.watermark_us // size_us > source.told_watermark_us // size_us
        return ended or source.fence is None or not source.changed

    async def flush(self) -> None:
        """Send what was gathered, wait for the broker, then acknowledge its events.

        A failed send is kept and sent first next time, under its own sequence numbers.
        """
        if not self._reading.may_write():
            return  # another worker may have the partitions, and count them, by now
        async with self._lock:
            events, self._unacknowledged = self._unacknowledged, []
            try:
                await self._announce(self._sources)
                for partition, source in self._sources.items():
                    self._look_for_silence(partition, source)
                    if source.changed:
                        self._outgoing.extend(self._drain(partition, source))
                await self._publisher.send_many(Topics.WINDOWS, self._outgoing)
            except BaseException as error:
                self._unacknowledged = events + self._unacknowledged
                if not isinstance(error, Exception):
                    raise
                log.warning("windows_flush_retries", error=repr(error)[:300])
                return
            self._outgoing = []
            self._since_us = self._elapsed()
            for event in events:
                event.ack()

    def assigned(self, partitions: Iterable[int]) -> None:
        """Take partitions up, so that the next flush announces them and no window closes before."""
        for partition in partitions:
            self._source(partition)

    async def revoked(self, partitions: Iterable[int]) -> None:
        """Send what is open of partitions that go to another worker, and forget them.

        What cannot be sent now never is: their next owner counts it anew.
        """
        await self.flush()
        gone = set(partitions)
        names = {source_name(partition) for partition in gone}
        self._outgoing = [item for item in self._outgoing if item[0] not in names]
        self._unacknowledged = [e for e in self._unacknowledged if e.message.partition not in gone]
        for partition in gone:
            self._sources.pop(partition, None)

    def _source(self, partition: int) -> _Source:
        if partition not in self._sources:
            settings = self._settings
            store = WindowStore(settings.window_us, settings.dimensions)
            self._sources[partition] = _Source(store, self._elapsed())
        return self._sources[partition]

    def _look_for_silence(self, partition: int, source: _Source) -> None:
        """Say of a partition read to its end that it is silent: windows need not wait for it.

        Only its reader can tell. A partition that nobody reads, or that is read with a lag, is not
        silent, and windows do wait for it. It is said again and again, for who merges the windows
        trusts no word from before partitions moved.
        """
        now_us = self._elapsed()
        silent_us = now_us - max(source.heard_us, source.idle_said_us)
        if not source.changed and silent_us >= self._settings.idle_us:
            source.idle = source.changed = self._reading.caught_up(partition)
            source.idle_said_us = now_us

    def _drain(self, partition: int, source: _Source) -> Iterator[tuple[str, WindowBatch]]:
        source.changed = False
        pieces = list(_cut(source.store.drain()))
        for number, partials in enumerate(pieces, 1):
            # Only with the last piece is all of it said, and may windows close by it.
            if number == len(pieces):
                source.told_watermark_us = source.watermark_us
            message = self._message(partition, source, partials, whole=number == len(pieces))
            yield message.source, message

    def _message(
        self,
        partition: int,
        source: _Source,
        partials: tuple[WindowPartial, ...],
        *,
        whole: bool = False,
    ) -> WindowBatch:
        source.sequence += 1
        return WindowBatch(
            schema_version=SCHEMA_VERSION,
            source=source_name(partition),
            epoch=source.epoch,
            sequence=source.sequence,
            fence=source.fence,
            watermark_us=source.told_watermark_us,
            up_to_offset=source.up_to_offset if whole else None,
            idle=source.idle,
            partials=partials,
        )


def _add_one_by_one(store: WindowStore, columns: EventColumns) -> None:
    for place in range(len(columns)):
        try:
            store.add(columns.slice(place, place + 1))
        except Exception as error:  # noqa: BLE001 - counted, and the row is in the store
            metrics.WINDOW_FAILURES.inc()
            log.error("event_without_window", error=repr(error)[:300])


def _cut(partials: tuple[WindowPartial, ...]) -> Iterator[tuple[WindowPartial, ...]]:
    """Yield partials in parts whose JSON stays within a message."""
    part: list[WindowPartial] = []
    size = 0
    for partial in partials:
        length = _most_bytes(partial)
        if part and size + length > MAX_MESSAGE_BYTES:
            yield tuple(part)
            part, size = [], 0
        part.append(partial)
        size += length
    yield tuple(part)


def _most_bytes(partial: WindowPartial) -> int:
    """Return a bound of a partial's JSON, without writing it: most of it is sketches' numbers."""
    labels = sum(6 * len(value) + len(name) + 6 for name, value in partial.labels.items())
    numbers = sum(len(sketch.keys) for sketch in partial.sketches.values())
    return 800 + labels + numbers * (_KEY_BYTES + len(str(partial.requests)) + 1)
