"""Take in ``llm.requests``: validate, price, store, window, sample; then acknowledge.

The order is what makes it exact: an offset is committed only after the store has acknowledged the
rows and ``llm.windows`` the partial windows that hold its events. Nothing escapes the agent's body,
for Faust would acknowledge and lose what it was working on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import structlog

from schemas.clock import Clock
from schemas.codec import Decoded, Refused, decode_records
from schemas.columns import EventColumns
from schemas.dead_letter import DeadLetter, DeadLetterReason
from schemas.pricing import PriceBook
from schemas.settings import Settings
from schemas.topics import Topics
from streams import metrics
from streams.app import Hold
from streams.batch import Batch, SeenEvents, slices
from streams.errors import AbandonedError
from streams.inserts import Inserts, insert_each
from streams.letters import DeadLetters, Publishes
from streams.replay import Replay
from streams.retry import until_done
from streams.rows import Origin, event_rows
from streams.windows import WindowsAgent

__all__ = ["IngestAgent", "Samples"]

log = structlog.get_logger(__name__)


class Samples(Protocol):
    """What takes a share of the requests for judging."""

    def offer(self, batch: Batch) -> None:
        """Take what belongs to the sample; never waits."""


class IngestAgent:
    """Turns records into rows, partial windows and judge samples, each event once."""

    def __init__(
        self,
        settings: Settings,
        store: Inserts,
        replay: Replay,
        publisher: Publishes,
        prices: PriceBook,
        windows: WindowsAgent,
        samples: Samples,
        clock: Clock,
        hold: Hold,
    ) -> None:
        self._settings = settings
        self._store = store
        self._replay = replay
        self._prices = prices
        self._windows = windows
        self._samples = samples
        self._clock = clock
        self._hold = hold
        self._letters = DeadLetters(Topics.REQUESTS, publisher, clock)
        self._seen = SeenEvents()

    def revoked(self, partitions: Iterable[int]) -> None:
        """Forget what is known of partitions that others may read from now on."""
        self._replay.forget(partitions)

    async def run(self, stream: Any) -> None:
        """Process the stream for ever; the Faust agent's body."""
        settings = self._settings.streams
        async for events in stream.noack_take(settings.batch_max, within=settings.batch_within_s):
            try:
                for part in slices(events):
                    await self.process(part)
            except AbandonedError:
                self._hold(events)
                continue
            self._windows.acknowledge_later(events)
            self._hold(events)
            await self._windows.flush_if_due()

    async def process(self, records: Sequence[Any]) -> None:
        """Take in some records: Faust events whose ``value`` is raw bytes.

        Should one of them be more than the code can take, it alone becomes a dead letter.

        Raises:
            AbandonedError: the store is away and the worker leaving; some records may be done.
        """
        try:
            await self._process(records)
        except AbandonedError:
            raise
        except Exception as error:
            log.exception("batch_fails", records=len(records))
            if len(records) > 1:
                for record in records:
                    await self.process([record])
                return
            message = records[0].message
            letter = self._letters.letter(
                DeadLetterReason.INTERNAL_ERROR,
                f"{type(error).__name__}; the worker's log says more",
                records[0].value or b"",
                (message.partition, message.offset, None),
            )
            await until_done("dead letters", lambda: self._letters.send([letter]))
        metrics.RECORDS.labels(topic=Topics.REQUESTS.name).inc(len(records))

    async def _process(self, records: Sequence[Any]) -> None:
        messages = [record.message for record in records]
        firsts: dict[int, int] = {}
        for message in messages:
            firsts.setdefault(message.partition, message.offset)
        self._seen.remember(await until_done("learn", lambda: self._replay.learn(firsts)))
        decoded = decode_records(
            [record.value for record in records],
            now_us=self._clock(),
            future_us=round(self._settings.streams.future_s * 1e6),
            max_bytes=self._settings.streams.max_record_bytes,
        )
        letters = self._refusals(decoded.refused, messages)
        batch, new = self._batch(decoded, messages)
        await until_done("dead letters", lambda: self._letters.send(letters))
        batch = batch.select(await self._insert(batch, new))
        self._seen.remember(event.event_id for event in batch.events)
        origin = batch.origin
        places = zip(origin.partitions, origin.offsets, strict=True)
        counted = batch.select([i for i, at in enumerate(places) if not self._replay.counted(*at)])
        if len(counted):
            self._count(counted)
            self._sample(counted)
        metrics.EVENTS.inc(len(decoded.events))
        metrics.BATCH_EVENTS.observe(len(decoded.events))

    def _batch(self, decoded: Decoded, messages: Sequence[Any]) -> tuple[Batch, list[int]]:
        """Return the events that are no repetition, and the places of those not stored yet."""
        keep: list[int] = []
        new: list[int] = []
        here = set()
        for i, (event, place) in enumerate(zip(decoded.events, decoded.places, strict=True)):
            message = messages[place.record]
            if not self._replay.stored(message.partition, message.offset, place.index):
                if event.event_id in here or event.event_id in self._seen:
                    continue
                new.append(len(keep))
            here.add(event.event_id)
            keep.append(i)
        metrics.DUPLICATES.labels(how="event_id").inc(len(decoded.events) - len(keep))
        metrics.DUPLICATES.labels(how="replay").inc(len(keep) - len(new))
        events = [decoded.events[i] for i in keep]
        columns = EventColumns.from_events(events)
        columns = replace(columns, cost_nano_usd=self._prices.cost_columns(columns))
        places = [decoded.places[i] for i in keep]
        kept = [messages[place.record] for place in places]
        origin = Origin(
            self._settings.kafka.log_id,
            Topics.REQUESTS.name,
            [message.partition for message in kept],
            [message.offset for message in kept],
            [place.index for place in places],
        )
        return Batch(events, columns, origin), new

    async def _insert(self, batch: Batch, new: Sequence[int]) -> list[int]:
        """Insert the new events; return the places of all that the store holds now."""
        fresh = batch.select(new)
        if not len(fresh):
            return list(range(len(batch)))
        rows = event_rows(fresh.columns, fresh.origin)
        refused = await insert_each(self._store, "requests", rows, token=fresh.token)
        if not refused:
            return list(range(len(batch)))
        letters = []
        for row in refused:
            origin = fresh.origin.select([row.index])
            place = (origin.partitions[0], origin.offsets[0], origin.indexes[0])
            payload = fresh.events[row.index].to_json()
            letters.append(
                self._letters.letter(DeadLetterReason.STORE_REFUSED, row.detail, payload, place)
            )
        await until_done("dead letters", lambda: self._letters.send(letters))
        lost = {new[row.index] for row in refused}
        return [i for i in range(len(batch)) if i not in lost]

    def _count(self, batch: Batch) -> None:
        """Add stored events to windows; a fault is counted, for the rows stand already."""
        try:
            self._windows.add(batch)
        except Exception:
            metrics.WINDOW_FAILURES.inc(len(batch))
            log.exception("windows_fail", events=len(batch))

    def _sample(self, batch: Batch) -> None:
        try:
            self._samples.offer(batch)
        except Exception:
            log.exception("sampling_fails")

    def _refusals(self, refused: Sequence[Refused], messages: Sequence[Any]) -> list[DeadLetter]:
        letters = []
        for item in refused:
            message = messages[item.record]
            if not self._replay.letter_sent(message.partition, message.offset):
                place = (message.partition, message.offset, item.index)
                letters.append(self._letters.letter(item.reason, item.detail, item.payload, place))
        return letters
