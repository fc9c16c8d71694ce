"""Take in ``llm.requests``: validate, price, store, window, sample; then acknowledge.

The order is what makes it exact: an offset is committed only after the store has acknowledged the
rows and ``llm.windows`` the partial windows that hold its events. Nothing escapes the agent's body,
for Faust would acknowledge and lose what it was working on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import structlog

from schemas.base import SCHEMA_VERSION
from schemas.clock import Clock
from schemas.codec import Decoded, Refused, decode_records
from schemas.columns import EventColumns
from schemas.dead_letter import MAX_PAYLOAD_BYTES, DeadLetter, DeadLetterReason
from schemas.pricing import PriceBook
from schemas.settings import Settings
from schemas.topics import Topics
from streams import metrics
from streams.batch import Batch, SeenEvents, slices
from streams.errors import StoreRefusedError
from streams.publish import Publisher
from streams.quality import QualityAgent
from streams.rows import Origin, event_rows
from streams.store import Store
from streams.windows import WindowsAgent

__all__ = ["IngestAgent"]

log = structlog.get_logger(__name__)


_HELD: Final = """
    SELECT kafka_partition, max(kafka_offset)
    FROM requests
    WHERE kafka_log = {log:String}
      AND kafka_topic = {topic:String}
      AND kafka_partition IN {partitions:Array(UInt16)}
    GROUP BY kafka_partition
"""


class IngestAgent:
    """Turns records into rows, partial windows and judge samples, each event once."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        publisher: Publisher,
        prices: PriceBook,
        windows: WindowsAgent,
        quality: QualityAgent,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._prices = prices
        self._windows = windows
        self._quality = quality
        self._clock = clock
        self._seen = SeenEvents()
        self._stored_up_to: dict[int, int] = {}

    def revoked(self, partitions: Iterable[int]) -> None:
        """Forget how far the store held partitions that others may read from now on."""
        for partition in partitions:
            self._stored_up_to.pop(partition, None)

    async def run(self, stream: Any) -> None:
        """Process the stream for ever; the Faust agent's body."""
        settings = self._settings.streams
        async for events in stream.noack_take(settings.batch_max, within=settings.batch_within_s):
            for part in slices(events):
                await self.process(part)
            self._windows.acknowledge_later(events)
            await self._windows.flush_if_due()

    async def process(self, records: Sequence[Any]) -> None:
        """Take in some records: Faust events whose ``value`` is raw bytes.

        Each step is tried until it is done, on its own, so that none is done twice.
        """
        messages = [record.message for record in records]
        await _until_done(lambda: self._learn({message.partition for message in messages}))
        decoded = decode_records(
            [record.value for record in records],
            now_us=self._clock(),
            future_us=round(self._settings.streams.future_s * 1e6),
            max_bytes=self._settings.streams.max_record_bytes,
        )
        letters = self._letters(decoded.refused, messages)
        await _until_done(lambda: self._send_letters(letters))
        batch = self._batch(decoded, messages)
        if batch.events:
            await _until_done(lambda: self._insert(batch))
            self._seen.remember([event.event_id for event in batch.events])
            self._windows.add(batch)
            self._quality.offer(batch)
        metrics.RECORDS.labels(topic=Topics.REQUESTS.name).inc(len(records))
        metrics.EVENTS.inc(len(decoded.events))
        metrics.BATCH_EVENTS.observe(len(decoded.events))

    async def _learn(self, partitions: set[int]) -> None:
        """Ask the store what it holds of partitions new to this worker; a replay skips that."""
        unknown = sorted(partitions - self._stored_up_to.keys())
        if not unknown:
            return
        rows = await self._store.query(
            _HELD,
            {
                "log": self._settings.kafka.log_id,
                "topic": Topics.REQUESTS.name,
                "partitions": unknown,
            },
        )
        held = dict(rows)
        for partition in unknown:
            self._stored_up_to[partition] = held.get(partition, -1)

    def _batch(self, decoded: Decoded, messages: Sequence[Any]) -> Batch:
        places = decoded.places
        keep = self._seen.new([event.event_id for event in decoded.events])
        metrics.DUPLICATES.labels(how="event_id").inc(len(decoded.events) - len(keep))
        fresh = [
            i
            for i in keep
            if (message := messages[places[i].record]).offset
            > self._stored_up_to.get(message.partition, -1)
        ]
        metrics.DUPLICATES.labels(how="replay").inc(len(keep) - len(fresh))
        events = [decoded.events[i] for i in fresh]
        columns = EventColumns.from_events(events)
        columns = EventColumns.from_events(events, self._prices.cost_columns(columns))
        kept = [messages[places[i].record] for i in fresh]
        origin = Origin(
            self._settings.kafka.log_id,
            Topics.REQUESTS.name,
            [message.partition for message in kept],
            [message.offset for message in kept],
            [places[i].index for i in fresh],
        )
        return Batch(events, columns, origin)

    async def _insert(self, batch: Batch) -> None:
        try:
            rows = event_rows(batch.columns, batch.origin)
            await self._store.insert("requests", rows, token=batch.token)
        except StoreRefusedError as error:
            if len(batch.events) == 1:
                await self._refuse_row(batch, str(error))
                return
            middle = len(batch.events) // 2
            for keep in (range(middle), range(middle, len(batch.events))):
                await self._insert(self._part(batch, list(keep)))

    def _part(self, batch: Batch, keep: Sequence[int]) -> Batch:
        events = [batch.events[i] for i in keep]
        costs = batch.columns.cost_nano_usd[list(keep)]
        return Batch(events, EventColumns.from_events(events, costs), batch.origin.select(keep))

    async def _refuse_row(self, batch: Batch, detail: str) -> None:
        payload = batch.events[0].to_json()
        letter = self._letter(
            DeadLetterReason.INVALID_VALUE,
            f"the store refused the row: {detail}",
            payload,
            (batch.origin.partitions[0], batch.origin.offsets[0], batch.origin.indexes[0]),
        )
        await self._send_letters([letter])

    def _letters(self, refused: Sequence[Refused], messages: Sequence[Any]) -> list[DeadLetter]:
        letters = []
        for item in refused:
            message = messages[item.record]
            if message.offset > self._stored_up_to.get(message.partition, -1):
                place = (message.partition, message.offset, item.index)
                letters.append(self._letter(item.reason, item.detail, item.payload, place))
        return letters

    async def _send_letters(self, letters: Sequence[DeadLetter]) -> None:
        topic = Topics.DEAD_LETTER
        await self._publisher.send_many(topic, [(letter.topic, letter) for letter in letters])
        for letter in letters:
            metrics.DEAD_LETTERS.labels(reason=letter.reason.value).inc()

    def _letter(
        self,
        reason: DeadLetterReason,
        detail: str,
        payload: bytes,
        place: tuple[int, int, int | None],
    ) -> DeadLetter:
        partition, offset, index = place
        return DeadLetter.model_construct(
            schema_version=SCHEMA_VERSION,
            reason=reason,
            detail=detail[:2_000],
            topic=Topics.REQUESTS.name,
            partition=partition,
            offset=offset,
            index=index,
            payload=payload[:MAX_PAYLOAD_BYTES],
            payload_size=len(payload),
            at_us=self._clock(),
        )


async def _until_done(work: Callable[[], Awaitable[None]]) -> None:
    pause = 0.1
    while True:
        try:
            await work()
        except Exception:
            log.exception("ingest_retries")
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10)
        else:
            return
