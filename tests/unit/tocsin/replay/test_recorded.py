from __future__ import annotations

from pathlib import Path

import pytest

from schemas.codec import decode_records, encode_batch
from schemas.settings import KafkaSettings
from schemas.topics import Topics
from tests.support.broker import Broker, create_topics, read_all
from tests.support.events import NOW_US, event, numbered_id
from tocsin.replay.recorded import looks_recorded, read_events, send_events, shifted
from tocsin.replay.traces import TraceError


def _recording(path: Path, count: int) -> None:
    lines = [
        event(
            event_id=numbered_id(i),
            request_id=f"r{i}",
            start_time_us=NOW_US + i * 1_000 - 500,
            end_time_us=NOW_US + i * 1_000,
        ).to_json()
        for i in range(count)
    ]
    lines[1] = encode_batch([event(event_id=numbered_id(1), end_time_us=NOW_US + 1_000)])
    path.write_bytes(b"\n".join(lines) + b"\n\n")


def test_events_come_back_from_single_and_batch_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _recording(path, 5)
    assert looks_recorded(path)
    assert [e.event_id for e in read_events(path)] == [numbered_id(i) for i in range(5)]


def test_a_line_that_is_no_event_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _recording(path, 2)
    path.write_bytes(path.read_bytes() + b'{"schema_version": 1}\n')
    with pytest.raises(TraceError, match="line 3: missing_field"):
        read_events(path)


def test_a_replayed_event_is_another_request_at_another_time() -> None:
    original = event()
    again = shifted(original, 7_000_000)
    assert again.event_id != original.event_id
    assert again.end_time_us - original.end_time_us == 7_000_000
    assert again.end_time_us - again.start_time_us == (
        original.end_time_us - original.start_time_us
    )


async def test_every_event_reaches_the_broker_at_the_present_time(
    tmp_path: Path, fresh_broker: Broker
) -> None:
    path = tmp_path / "events.jsonl"
    _recording(path, 300)
    await create_topics(fresh_broker.bootstrap, [Topics.REQUESTS])
    clock = iter(range(NOW_US * 2, NOW_US * 2 + 10**9))
    kafka = KafkaSettings(bootstrap=fresh_broker.bootstrap)
    sent = [
        count
        async for count in send_events(
            read_events(path), kafka, lambda: next(clock), speed=1_000_000
        )
    ]
    records = await read_all(fresh_broker.bootstrap, Topics.REQUESTS.name)
    decoded = decode_records(
        [value for _, value in records], now_us=NOW_US * 3, future_us=0, max_bytes=1 << 24
    )
    assert sent[-1] == len(decoded.events) == len({e.event_id for e in decoded.events}) == 300
    assert min(e.end_time_us for e in decoded.events) >= NOW_US * 2
