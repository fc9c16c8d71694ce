"""Load the backlog: the same events into two topics, one event a record and 500 a record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from benchmarks.core.names import BATCHED, SINGLE, requests_topic
from benchmarks.core.workload import Totals, Workload, batches
from schemas.codec import encode_batch
from schemas.settings import KafkaSettings
from schemas.topic_admin import ensure_topics
from schemas.topics import Topic

__all__ = ["PARTITIONS", "Backlog", "preload"]

PARTITIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Backlog:
    """What stands in the topics.

    Attributes:
        events: in each topic.
        records: by kind of record.
        ends: by kind of record, the end offset of each partition.
        totals: sums over the events.
    """

    events: int
    records: dict[str, int]
    ends: dict[str, dict[int, int]]
    totals: dict[str, int]


async def preload(kafka: KafkaSettings, workload: Workload) -> Backlog:
    """Create the topics and fill them, records in turn to each partition."""
    await ensure_topics(
        kafka,
        tuple(Topic(requests_topic(kind), "", "", "", PARTITIONS) for kind in (SINGLE, BATCHED)),
    )
    totals = Totals()
    ends = {kind: dict.fromkeys(range(PARTITIONS), 0) for kind in (SINGLE, BATCHED)}
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, max_batch_size=1 << 20)
    await producer.start()
    try:
        for number, events in enumerate(batches(workload)):
            for event in events:
                totals.add(event)
            partition = number % PARTITIONS
            singles = [event.to_json() for event in events]
            await producer.send_and_wait(
                requests_topic(BATCHED), encode_batch(events), partition=partition
            )
            ends[BATCHED][partition] += 1
            shares = [singles[place::PARTITIONS] for place in range(PARTITIONS)]
            for place, share in enumerate(shares):
                await _send(producer, requests_topic(SINGLE), place, share)
                ends[SINGLE][place] += len(share)
    finally:
        await producer.stop()
    records = {kind: sum(by.values()) for kind, by in ends.items()}
    return Backlog(totals.requests, records, ends, totals.as_dict())


async def _send(
    producer: AIOKafkaProducer, topic: str, partition: int, values: Iterable[bytes]
) -> None:
    """Send records of one event each, many to a request."""
    left: Iterator[bytes] = iter(values)
    value = next(left, None)
    while value is not None:
        builder: BatchBuilder = producer.create_batch()
        while value is not None and builder.append(key=None, value=value, timestamp=None):
            value = next(left, None)
        await (await producer.send_batch(builder, topic, partition=partition))
