"""Killed workers and a killed store: nothing lost, nothing twice, in rows and in windows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from schemas.codec import encode_batch
from schemas.topics import Topics
from tests.acceptance.running import (
    Running,
    eventually,
    kill_worker,
    new_events,
    producer,
    running_stack,
    start_worker,
)
from tests.support.broker import free_port
from tocsin.embedded.store.process import StoreProcess

pytestmark = pytest.mark.acceptance

REQUESTS = Topics.REQUESTS.name
COUNTED = "SELECT sum(requests) FROM windows FINAL"
ROWS = "SELECT count(), uniqExact(event_id) FROM requests"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("crashes")
    # Slower than elsewhere: a dead worker's partitions are silent for seconds, and what they then
    # bring has to find its windows open for corrections.
    scale = {"TOCSIN_STREAMS__TIME_SCALE": "5"}
    with running_stack(path, workers=2, clickhouse_port=free_port(), **scale) as stack:
        yield stack


@asynccontextmanager
async def load(running: Running, seed: int, pause_s: float = 0.02) -> AsyncIterator[set[UUID]]:
    """Send batches and single events for as long as the block runs; give the ids sent."""
    rng = random.Random(seed)
    sent: set[UUID] = set()
    stop = asyncio.Event()

    async def send() -> None:
        async with producer(running.bootstrap) as sender:
            while not stop.is_set():
                batch, single = new_events(20, rng), new_events(1, rng)
                await sender.send_and_wait(REQUESTS, encode_batch(batch))
                await sender.send_and_wait(REQUESTS, single[0].to_json())
                sent.update(event.event_id for event in (*batch, *single))
                await asyncio.sleep(pause_s)

    task = asyncio.create_task(send())
    try:
        yield sent
    finally:
        stop.set()
        await task


async def settled(running: Running, before: int, sent: set[UUID]) -> None:
    """Wait for everything to be in, then hold rows and windows to it."""
    total = before + len(sent)
    await eventually(lambda: running.value(ROWS) >= total, 60)
    assert running.rows(ROWS) == [(total, total)]
    await eventually(lambda: running.value(COUNTED) >= total, 60)
    await asyncio.sleep(1.5)  # another window's time, for what might come twice
    assert running.rows(ROWS) == [(total, total)]
    assert running.value(COUNTED) == total


@pytest.mark.parametrize("number", [1, 0])
async def test_a_killed_worker_loses_and_repeats_nothing(running: Running, number: int) -> None:
    before = running.value("SELECT count() FROM requests")
    async with load(running, number) as sent:
        await eventually(lambda: running.value("SELECT count() FROM requests") > before + 300)
        kill_worker(running.stack, number)
        await asyncio.sleep(2.5)  # the other one gets its partitions, and gives them back
        seconds = await start_worker(running.stack, number)
        caught_up = running.value("SELECT count() FROM requests")
        await eventually(lambda: running.value("SELECT count() FROM requests") > caught_up + 300)
    await settled(running, before, sent)
    again = running.metric("tocsin_duplicates_total", how="replay")
    print(f"ready again after {seconds:.1f} s; {len(sent)} events, {again:.0f} read again")  # noqa: T201


async def test_a_killed_store_loses_and_repeats_nothing(running: Running) -> None:
    """While it is away, the workers wait, and can still be stopped."""
    before = running.value("SELECT count() FROM requests")
    waiting, stopping = running.stack.workers
    async with load(running, 4) as sent:
        await eventually(lambda: running.value("SELECT count() FROM requests") > before + 300)
        pid = waiting.pid
        store = running.stack._store
        assert isinstance(store, StoreProcess)
        store.kill()
        failures = running.metric("tocsin_insert_failures_total")
        await eventually(lambda: running.metric("tocsin_insert_failures_total") > failures + 1)
        assert await asyncio.to_thread(stopping.stop) == 0
        store.start()
        await start_worker(running.stack, 1)
        after = running.value("SELECT count() FROM requests")
        await eventually(lambda: running.value("SELECT count() FROM requests") > after + 300, 60)
    assert waiting.pid == pid
    await settled(running, before, sent)
