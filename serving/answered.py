"""Find out which requests of `llm.actions` have been answered already."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import ValidationError

from schemas.action import ActionResult, action_message
from schemas.kafka_client import kafka_client
from schemas.settings import KafkaSettings

__all__ = ["answered"]


async def answered(kafka: KafkaSettings, partitions: Iterable[TopicPartition]) -> set[str]:
    """Return the action ids whose results stand in the log.

    Actions are few, so the whole log is read: a request that comes twice, days apart, is known too.

    Raises:
        KafkaError: the log could not be read.
    """
    consumer = AIOKafkaConsumer(
        **kafka_client(kafka, "executor"), enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    found: set[str] = set()
    try:
        begins = await consumer.beginning_offsets(list(partitions))
        ends = await consumer.end_offsets(list(begins))
        waiting = {p for p, offset in begins.items() if offset < ends[p]}
        consumer.assign(list(waiting))
        for partition in waiting:
            consumer.seek(partition, begins[partition])
        while waiting:
            for records in (await consumer.getmany(*waiting, timeout_ms=500)).values():
                found.update(
                    answer for record in records if (answer := _answer(record.value)) is not None
                )
            waiting = {p for p in waiting if await consumer.position(p) < ends[p]}
    finally:
        await consumer.stop()
    return found


def _answer(value: bytes | None) -> str | None:
    try:
        message = action_message.validate_json(value or b"")
    except ValidationError:
        return None
    return message.action_id if isinstance(message, ActionResult) else None
