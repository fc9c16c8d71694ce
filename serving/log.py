"""Read whole topics of few messages, up to where they end now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.kafka_client import kafka_client
from schemas.settings import KafkaSettings

__all__ = ["read_partitions", "read_topic"]


async def read_topic(kafka: KafkaSettings, topic: str) -> AsyncIterator[bytes]:
    """Yield every value of a topic; nothing of one that is not there.

    Raises:
        KafkaError: the log could not be read.
    """
    consumer = _consumer(kafka)
    await consumer.start()
    try:
        known = await _partitions(consumer, topic)
        async for value in _read(consumer, [TopicPartition(topic, number) for number in known]):
            yield value
    finally:
        await consumer.stop()


async def read_partitions(
    kafka: KafkaSettings, partitions: Iterable[TopicPartition]
) -> AsyncIterator[bytes]:
    """Yield every value of some partitions.

    Raises:
        KafkaError: the log could not be read.
    """
    consumer = _consumer(kafka)
    await consumer.start()
    try:
        async for value in _read(consumer, list(partitions)):
            yield value
    finally:
        await consumer.stop()


def _consumer(kafka: KafkaSettings) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        **kafka_client(kafka, "executor"), enable_auto_commit=False, auto_offset_reset="earliest"
    )


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    topics = await consumer.topics()
    return (consumer.partitions_for_topic(topic) or set()) if topic in topics else set()


async def _read(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
) -> AsyncIterator[bytes]:
    if not partitions:
        return
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(list(begins))
    waiting = {p for p, offset in begins.items() if offset < ends[p]}
    consumer.assign(list(waiting))
    for partition in waiting:
        consumer.seek(partition, begins[partition])
    while waiting:
        for records in (await consumer.getmany(*waiting, timeout_ms=500)).values():
            for record in records:
                if record.value is not None:
                    yield record.value
        waiting = {p for p in waiting if await consumer.position(p) < ends[p]}
