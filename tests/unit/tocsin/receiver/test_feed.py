from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from tocsin.receiver.feed import Feed


async def read(stream: AsyncIterator[bytes]) -> tuple[str, Any]:
    while True:
        chunk = (await asyncio.wait_for(anext(stream), 5)).decode()
        fields = dict(line.split(": ", 1) for line in chunk.strip().splitlines())
        if "event" in fields:
            return fields["event"], json.loads(fields["data"])


async def test_a_page_gets_a_snapshot_and_then_each_change_once() -> None:
    state = {"n": 0}
    feed = Feed(lambda: dict(state))
    stream = feed.stream()
    assert await read(stream) == ("snapshot", {"n": 0})
    feed.publish("step", 1)
    feed.publish("step", "two\nlines")
    assert [await read(stream) for _ in range(2)] == [("step", 1), ("step", "two\nlines")]
    await stream.aclose()
    assert len(feed) == 0


async def test_a_page_too_slow_gets_a_new_snapshot_instead_of_a_queue_without_end() -> None:
    state = {"n": 0}
    feed = Feed(lambda: dict(state), queue=10)
    stream = feed.stream()
    await read(stream)
    for n in range(1_000):
        state["n"] = n
        feed.publish("step", n)
    assert await read(stream) == ("snapshot", {"n": 999})
    feed.publish("step", 1_000)
    assert await read(stream) == ("step", 1_000)
    await stream.aclose()


async def test_close_ends_every_stream() -> None:
    feed = Feed(dict)
    streams = [feed.stream() for _ in range(3)]
    for stream in streams:
        await read(stream)
    waiting = [asyncio.ensure_future(anext(stream, None)) for stream in streams]
    await asyncio.sleep(0)
    feed.close()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 5) == [None] * 3
