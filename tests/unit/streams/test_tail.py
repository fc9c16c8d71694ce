"""The end of llm.windows, read from a real broker."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaProducer

from schemas.settings import KafkaSettings
from schemas.topics import Topics
from schemas.window import WindowBatch
from streams import tail
from streams.tail import WindowsTail
from tests.support.broker import Broker, create_topics


def said(source: str, sequence: int, up_to: int | None) -> bytes:
    return WindowBatch(
        schema_version=1,
        source=source,
        epoch="e",
        sequence=sequence,
        watermark_us=0,
        up_to_offset=up_to,
    ).to_json()


async def test_the_newest_offset_of_each_source_is_found_however_far_back(
    fresh_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_STEP", 4)
    topic = Topics.WINDOWS
    await create_topics(fresh_broker.bootstrap, [topic])
    reader = WindowsTail(KafkaSettings(bootstrap=fresh_broker.bootstrap))
    assert await reader.up_to(["r-0"]) == {}

    async with AIOKafkaProducer(bootstrap_servers=fresh_broker.bootstrap) as producer:

        async def send(source: str, value: bytes) -> None:
            await producer.send_and_wait(topic.name, value, key=source.encode())

        await send("r-1", said("r-1", 1, 70))
        for sequence in range(1, 20):
            await send("r-0", said("r-0", sequence, sequence * 10))
        await send("r-0", said("r-0", 20, None))  # the first of two pieces: says nothing yet
        await send("r-0", b"garbage")
        await send("r-0", b"[1]")
        await send("r-2", said("r-2", 1, None))

    assert await reader.up_to(["r-0", "r-1", "r-2", "r-3"]) == {"r-0": 190, "r-1": 70}
