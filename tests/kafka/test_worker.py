"""The same worker on Apache Kafka: one row an event, exact windows, over a kill -9 as well."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from aiokafka.errors import KafkaError

from schemas.codec import encode_batch
from schemas.dead_letter import DeadLetterReason
from schemas.topics import Topics
from tests.acceptance.running import WINDOW_US, eventually, new_events, producer
from tests.kafka.rig import Rig
from tests.support.kafka import Kafka

pytestmark = pytest.mark.kafka

COUNT = 2_000
REQUESTS = Topics.REQUESTS.name
ROWS = "SELECT count() FROM requests"
COUNTED = "SELECT sum(requests) FROM windows FINAL"
GARBAGE = {
    b"\x00\xff\xfe garbage": DeadLetterReason.NOT_JSON,
    b"42": DeadLetterReason.NOT_AN_EVENT,
    b"": DeadLetterReason.EMPTY,
    b'{"schema_version": 99}': DeadLetterReason.UNKNOWN_SCHEMA_VERSION,
}
BY_WINDOW = """
    SELECT intDiv(toUnixTimestamp64Micro({time}), {{size:Int64}}) AS number, model_version,
           {counts}
    FROM {table}
    GROUP BY number, model_version
    ORDER BY number, model_version
"""


async def settled(rig: Rig, total: int) -> None:
    """Wait for everything to be in, then hold rows and windows to it, window by window."""
    await eventually(lambda: rig.value(ROWS) >= total, 60)
    await eventually(lambda: rig.value(COUNTED) >= total, 60)
    await asyncio.sleep(1.5)  # another window's time, for what might come twice
    assert rig.rows("SELECT count(), uniqExact(event_id) FROM requests") == [(total, total)]
    rows = BY_WINDOW.format(
        time="end_time", table="requests", counts="count(), countIf(failed), sum(output_tokens)"
    )
    windows = BY_WINDOW.format(
        time="window_start",
        table="windows FINAL",
        counts="sum(requests), sum(errors), sum(output_tokens)",
    )
    assert rig.rows(windows, size=WINDOW_US) == rig.rows(rows, size=WINDOW_US)


@asynccontextmanager
async def load(rig: Rig, rng: random.Random) -> AsyncIterator[set[UUID]]:
    """Send batches and single events for as long as the block runs; give the ids sent."""
    sent: set[UUID] = set()
    stop = asyncio.Event()

    async def send() -> None:
        async with producer(rig.bootstrap) as sender:
            while not stop.is_set():
                batch, single = new_events(20, rng), new_events(1, rng)
                try:
                    await sender.send_and_wait(REQUESTS, encode_batch(batch))
                    sent.update(event.event_id for event in batch)
                    await sender.send_and_wait(REQUESTS, single[0].to_json())
                    sent.update(event.event_id for event in single)
                except KafkaError:
                    continue  # the broker is away; it may have it all the same
                await asyncio.sleep(0.02)

    task = asyncio.create_task(send())
    try:
        yield sent
    finally:
        stop.set()
        await task


async def test_one_row_an_event_and_a_letter_for_garbage(rig: Rig) -> None:
    before = rig.value(ROWS)
    rng = random.Random(1)
    sent: set[UUID] = set()
    letters: set[tuple[str, str, int, int]] = set()
    async with producer(rig.bootstrap) as sender:
        while len(sent) < COUNT:
            batch, single = new_events(49, rng), new_events(1, rng)
            await sender.send_and_wait(REQUESTS, encode_batch(batch))
            await sender.send_and_wait(REQUESTS, single[0].to_json())
            sent |= {event.event_id for event in (*batch, *single)}
            if len(sent) != COUNT // 2:
                continue
            for value, reason in GARBAGE.items():
                place = await sender.send_and_wait(REQUESTS, value)
                letters.add((reason.value, place.topic, place.partition, place.offset))
    await settled(rig, before + len(sent))
    assert {row[0] for row in rig.rows("SELECT event_id FROM requests")} >= sent
    query = "SELECT reason, topic, partition, offset FROM dead_letters"
    await eventually(lambda: len(rig.rows(query)) >= len(letters))
    assert sorted(rig.rows(query)) == sorted(letters)


async def test_a_killed_worker_loses_and_repeats_nothing(rig: Rig) -> None:
    before = rig.value(ROWS)
    async with load(rig, random.Random(2)) as sent:
        await eventually(lambda: rig.value(ROWS) > before + 300)
        rig.worker.kill()
        at_kill = len(sent)
        await eventually(lambda: len(sent) > at_kill + 300)
        seconds = rig.start_worker()  # from this thread: parts end with the one that started them
        caught_up = rig.value(ROWS)
        await eventually(lambda: rig.value(ROWS) > caught_up + 300)
    await settled(rig, before + len(sent))
    assert {row[0] for row in rig.rows("SELECT event_id FROM requests")} >= sent
    again = rig.metric("tocsin_duplicates_total")
    print(f"ready again after {seconds:.1f} s; {len(sent)} events, {again:.0f} read again")  # noqa: T201


async def test_a_killed_broker_loses_and_repeats_nothing(rig: Rig, kafka: Kafka) -> None:
    before = rig.value(ROWS)
    pid = rig.worker.pid
    async with load(rig, random.Random(3)) as sent:
        await eventually(lambda: rig.value(ROWS) > before + 300)
        kafka.node.kill()
        await asyncio.sleep(3)
        seconds = kafka.restart()
        back = rig.value(ROWS)
        await eventually(lambda: rig.value(ROWS) > back + 300, 90)
    assert rig.worker.pid == pid
    ids = {row[0] for row in rig.rows("SELECT event_id FROM requests")}
    await eventually(lambda: sent <= {row[0] for row in rig.rows("SELECT event_id FROM requests")})
    # The producer cannot always tell whether the dying broker had taken a record.
    await settled(rig, rig.value(ROWS))
    print(f"the broker was back after {seconds:.1f} s; {len(ids)} rows")  # noqa: T201
