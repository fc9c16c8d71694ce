"""The end of llm.windows, read from a real broker."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaProducer

from schemas.settings import KafkaSettings
from schemas.topics import Topics
from schemas.window import WindowBatch
from streams import tail
from streams.tail import Fence, WindowsTail
from tests.support.broker import Broker, create_topics


def said(source: str, sequence: int, up_to: int | None, epoch: str = "e") -> bytes:
    return WindowBatch(
        schema_version=1,
        source=source,
        epoch=epoch,
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
    assert await reader.up_to({"r-0": Fence("new", -1)}) == {}

    async with AIOKafkaProducer(bootstrap_servers=fresh_broker.bootstrap) as producer:

        async def send(source: str, value: bytes) -> int:
            place = await producer.send_and_wait(topic.name, value, key=source.encode())
            return int(place.offset)

        await send("r-1", said("r-1", 1, 70))
        for sequence in range(1, 20):
            await send("r-0", said("r-0", sequence, sequence * 10))
        await send("r-0", said("r-0", 20, None))  # the first of two pieces: says nothing yet
        await send("r-0", b"garbage")
        await send("r-0", b"[1]")
        await send("r-2", said("r-2", 1, None))
        at = await send("r-1", said("r-1", 1, None, epoch="new"))
        fences = {name: Fence("new", at) for name in ("r-0", "r-1", "r-2", "r-3")}
        # Of an owner that does not know yet that it is none any more: the fence keeps it out.
        await send("r-1", said("r-1", 2, 99))

    assert await reader.up_to(fences) == {"r-0": 190, "r-1": 70}


async def test_an_announcement_that_was_sent_twice_fences_from_its_first_time(
    fresh_broker: Broker,
) -> None:
    topic = Topics.WINDOWS
    await create_topics(fresh_broker.bootstrap, [topic])
    messages = [said("r", 1, 5), said("r", 1, None, "new"), said("r", 2, 9)]
    async with AIOKafkaProducer(bootstrap_servers=fresh_broker.bootstrap) as producer:
        for value in [*messages, said("r", 2, None, "new")]:
            place = await producer.send_and_wait(topic.name, value, key=b"r")
    reader = WindowsTail(KafkaSettings(bootstrap=fresh_broker.bootstrap))
    assert await reader.up_to({"r": Fence("new", place.offset)}) == {"r": 5}
