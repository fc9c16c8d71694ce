"""The ceiling: plain aiokafka and the work itself, nothing between them, no store."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer

from benchmarks.core.contenders.script import FETCH_BYTES, Run, Task, task


async def main(given: Task) -> None:
    """Read all records in the batches that the consumer has."""
    consumer = AIOKafkaConsumer(
        given.topic,
        bootstrap_servers=given.bootstrap,
        group_id=given.group,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=100,
        session_timeout_ms=6_000,
        heartbeat_interval_ms=500,
    )
    run = Run(given)
    await consumer.start()
    try:
        while not run.done:
            fetched = await consumer.getmany(timeout_ms=1_000)
            if fetched:
                run.take([record.value for records in fetched.values() for record in records])
    finally:
        await consumer.stop()
    run.report()


if __name__ == "__main__":
    asyncio.run(main(task(__doc__)))
