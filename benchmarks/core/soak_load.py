"""Keep a worker busy for some time: send batch records as long as its backlog stays in bounds.

A process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.core.meter import rss_mb
from benchmarks.core.stamp import BLOCK_US, templates
from benchmarks.core.workload import BATCH_EVENTS
from schemas.topics import Topics

TEMPLATES = 64
BACKLOG_RECORDS = 800
LOOK_S = 0.25
IN_FLIGHT = 8


async def main() -> None:
    """Send until the time is over; print what was sent as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--group", required=True, help="the worker's, whose backlog is watched")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--broker-pid", type=int, required=True)
    parser.add_argument("--broker-mb", type=float, required=True, help="end when it holds so much")
    given = parser.parse_args()
    made = templates(TEMPLATES, BATCH_EVENTS)
    topic = Topics.REQUESTS.name
    places = [TopicPartition(topic, number) for number in range(Topics.REQUESTS.partitions)]
    producer = AIOKafkaProducer(bootstrap_servers=given.bootstrap, max_request_size=8 << 20)
    group = AIOKafkaConsumer(
        bootstrap_servers=given.bootstrap, group_id=given.group, enable_auto_commit=False
    )
    await producer.start()
    await group.start()
    sent = events = 0
    least = BACKLOG_RECORDS
    reason = "time"
    began = time.monotonic()
    first_number = time.time_ns() // 1_000_000 << 4 | os.getpid() & 0xF
    try:
        while (passed := time.monotonic() - began) < given.seconds:
            if rss_mb(given.broker_pid) > given.broker_mb:
                reason = f"the broker holds {given.broker_mb:g} MB"
                break
            done = sum([await group.committed(place) or 0 for place in places])
            if passed > given.seconds / 10:
                least = min(least, sent - done)
            pending = []
            for _ in range(max(0, BACKLOG_RECORDS - (sent - done))):
                template = made[sent % TEMPLATES]
                value = template.stamp(first_number + sent, time.time_ns() // 1_000 // BLOCK_US)
                partition = sent % len(places)
                pending.append(await producer.send(topic, value, partition=partition))
                sent += 1
                events += template.events
                if len(pending) >= IN_FLIGHT:
                    await pending.pop(0)
            for one in pending:
                await one
            await asyncio.sleep(LOOK_S)
    finally:
        await group.stop()
        await producer.stop()
    result = {
        "records": sent,
        "events": events,
        "seconds": time.monotonic() - began,
        "least_backlog_records": least,
        "ended_by": reason,
    }
    sys.stdout.write(f"{json.dumps(result)}\n")


if __name__ == "__main__":
    asyncio.run(main())
