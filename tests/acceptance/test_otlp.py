"""Spans that come again and again, in other company each time, are one row and one count each."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from schemas.settings import Settings
from serving.otlp.process import run_otlp
from serving.otlp.span import Span
from tests.acceptance.running import Running, eventually, running_stack
from tests.unit.serving.otlp.world import CHAT, export, span

pytestmark = pytest.mark.acceptance

COUNT = 600


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with running_stack(tmp_path, workers=2) as stack:
        yield stack


def spans_of_now() -> list[Span]:
    now_ns = time.time_ns()
    usage = CHAT | {"gen_ai.usage.output_tokens": 7}
    made = []
    for number in range(1, COUNT + 1):
        start_ns = now_ns - random.Random(number).randrange(10**9)
        made.append(span(number, usage, start_ns=start_ns, end_ns=now_ns))
    return made


async def test_each_span_is_one_row_and_one_count(running: Running) -> None:
    good = spans_of_now()
    bad = [replace(one, span_id="f" * 16, start_ns=5_000) for one in good[:1]]
    kafka = running.stack.settings.kafka
    settings = Settings.model_validate({"otlp": {"port": 0}, "kafka": kafka.model_dump()})
    stop = asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run_otlp(settings, stop, ready=ready.set_result))
    headers = {"Content-Type": "application/x-protobuf"}
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:
        url = await asyncio.wait_for(ready, 10)
        for turn in range(4):
            mixed = [*good, *bad]
            random.Random(turn).shuffle(mixed)
            for start in range(0, len(mixed), 100 + 50 * turn):
                body = export(mixed[start : start + 100 + 50 * turn]).SerializeToString()
                assert (await client.post(url, content=body)).status_code == 200
    stop.set()
    await task

    def counted() -> int:
        (closed,) = running.rows("SELECT sum(requests) FROM windows FINAL")
        return int(closed[0])

    await eventually(lambda: running.value("SELECT count() FROM requests") >= COUNT)
    await eventually(lambda: running.metric("tocsin_duplicates_total") >= 3 * COUNT)
    await eventually(lambda: counted() >= COUNT)
    (row,) = running.rows(
        "SELECT count(), uniqExact(request_id), sum(output_tokens), countIf(status_code IS NULL),"
        " countIf(stream IS NULL) FROM requests"
    )
    assert row == (COUNT, COUNT, 7 * COUNT, COUNT, COUNT)
    assert counted() == COUNT
    letters = running.rows("SELECT DISTINCT topic, offset, reason FROM dead_letters FINAL")
    assert letters == [("otlp.traces", 2**64 - 1, "time_out_of_range")]
