"""`tocsin otlp` as it is started, against a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import orjson

from schemas.codec import decode_records
from schemas.dead_letter import DeadLetter
from schemas.topics import Topics
from tests.support.broker import Broker, create_topics, free_port, read_all
from tests.unit.serving.otlp.world import export, span

ROOT = Path(__file__).parents[2]


async def test_spans_come_out_of_kafka_as_events(fresh_broker: Broker) -> None:
    await create_topics(fresh_broker.bootstrap)
    metrics = free_port()
    settings = {
        "TOCSIN_KAFKA__BOOTSTRAP": fresh_broker.bootstrap,
        "TOCSIN_OTLP__PORT": "0",
        "TOCSIN_OTLP__TOKEN": "secret",
        "TOCSIN_OTLP__METRICS_PORT": str(metrics),
        "TOCSIN_OTLP__REPORTED": '{"service.name": ["vllm-a"]}',
        "PYTHONPATH": str(ROOT),
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")}
    process = subprocess.Popen(  # noqa: ASYNC220  # it starts, nothing waits for it here
        [sys.executable, "-m", "tocsin", "otlp"],
        env=kept | settings,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("otlp: ").strip()
        spans = [span(1), span(2, start_ns=7_000), span(3, resource={"service.name": "vllm-a"})]
        body = export(spans).SerializeToString()
        headers = {"Content-Type": "application/x-protobuf", "Authorization": "Bearer secret"}
        async with httpx.AsyncClient(headers=headers) as client:
            for _ in range(2):  # a client that got no answer comes again
                assert (await client.post(url, content=body)).status_code == 200
            page = (await client.get(f"http://127.0.0.1:{metrics}/metrics")).text
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert 'tocsin_otlp_exports_total{status="200"} 2.0' in page
    assert 'tocsin_otlp_spans_total{outcome="reported",source="genai"} 2.0' in page
    records = await read_all(fresh_broker.bootstrap, Topics.REQUESTS.name)
    decoded = decode_records(
        [value for _, value in records],
        now_us=time.time_ns() // 1_000,
        future_us=0,
        max_bytes=2**20,
    )
    assert [event.request_id for event in decoded.events] == [f"{1:032x}/{1:016x}"] * 2
    assert len(set(decoded.columns.values("event_id"))) == 1
    letters = await read_all(fresh_broker.bootstrap, Topics.DEAD_LETTER.name)
    for _, value in letters:
        letter = DeadLetter.model_validate_json(value or b"")
        assert (letter.topic, letter.offset) == ("otlp.traces", 2)
        assert orjson.loads(letter.payload)["start_time_unix_nano"] == 7_000
    assert len(letters) == 2
