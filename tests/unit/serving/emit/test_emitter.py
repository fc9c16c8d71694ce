"""The emitter against a real broker: batches, outages, bounds, and the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from schemas.base import Message
from schemas.settings import EmitSettings, KafkaSettings
from schemas.topics import Topics
from serving.emit.batches import Record
from serving.emit.emitter import KafkaEmitter
from serving.emit.link import KafkaLink, make_producer
from tests.support.broker import Broker, create_topics, free_port, read_all, running_broker
from tests.support.tcp_proxy import running_proxy
from tests.unit.serving.emit.events import make_event, make_sample


@contextmanager
def emitter(bootstrap: str, **settings: Any) -> Iterator[KafkaEmitter]:
    made = KafkaEmitter(
        EmitSettings(**({"linger_s": 0.02, "flush_timeout_s": 5} | settings)),
        KafkaSettings(bootstrap=bootstrap),
    )
    try:
        yield made
    finally:
        made.close(0)


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        await asyncio.sleep(0.01)


async def events_in(bootstrap: str) -> list[dict[str, Any]]:
    records = await read_all(bootstrap, Topics.REQUESTS.name)
    return [event for _, value in records for event in orjson.loads(value or b"[]")]


async def test_events_arrive_in_batches(fresh_broker: Broker) -> None:
    await create_topics(fresh_broker.bootstrap)
    with emitter(fresh_broker.bootstrap) as sink:
        for number in range(1_234):
            sink.emit(make_event(number))
        sink.emit(make_sample())
        sink.close(10)
        assert sink.emitted == 1_235
        assert not sink.dropped
    events = await events_in(fresh_broker.bootstrap)
    assert sorted(event["request_id"] for event in events) == sorted(
        f"r-{number}" for number in range(1_234)
    )
    records = await read_all(fresh_broker.bootstrap, Topics.REQUESTS.name)
    assert 3 <= len(records) <= 6
    for key, value in records:
        first = orjson.loads(value or b"")[0]
        assert key == first["event_id"].encode()
    [(key, value)] = await read_all(fresh_broker.bootstrap, Topics.ENGINE.name)
    assert key == b"s-1"
    assert orjson.loads(value or b"")["running_requests"] == 1


async def test_records_stay_within_their_size(fresh_broker: Broker) -> None:
    await create_topics(fresh_broker.bootstrap)
    with emitter(fresh_broker.bootstrap, batch_bytes=4_096) as sink:
        for number in range(100):
            sink.emit(make_event(number))
        sink.emit(make_event(100, prompt_redacted="x" * 30_000))
        sink.close(10)
    records = await read_all(fresh_broker.bootstrap, Topics.REQUESTS.name)
    large = [value for _, value in records if value and len(value) > 4_096]
    assert [len(orjson.loads(value)) for value in large] == [1]
    assert len(await events_in(fresh_broker.bootstrap)) == 101


async def test_a_single_event_waits_no_longer_than_the_linger(fresh_broker: Broker) -> None:
    await create_topics(fresh_broker.bootstrap)
    with emitter(fresh_broker.bootstrap) as sink:
        sink.emit(make_event(1))
        await until(lambda: sink.emitted == 1)
        sink.emit(make_event(2))
        await until(lambda: sink.emitted == 2)
    assert len(await read_all(fresh_broker.bootstrap, Topics.REQUESTS.name)) == 2


async def test_a_broker_that_comes_later_gets_everything() -> None:
    port = free_port()
    with emitter(f"127.0.0.1:{port}") as sink:
        sink.start()
        for number in range(10):
            sink.emit(make_event(number))
        await asyncio.sleep(0.3)
        assert sink.emitted == 0
        with running_broker(port) as broker:
            await create_topics(broker.bootstrap)
            await until(lambda: sink.emitted == 10)
            assert len(await events_in(broker.bootstrap)) == 10
        assert not sink.dropped


async def test_a_broker_that_goes_and_comes_back() -> None:
    public, hidden = free_port(), free_port()
    with (
        running_broker(hidden, advertised=public) as _,
        running_proxy(public, hidden) as proxy,
        emitter(f"127.0.0.1:{public}") as sink,
    ):
        bootstrap = f"127.0.0.1:{public}"
        await create_topics(bootstrap)
        sink.emit(make_event(0))
        await until(lambda: sink.emitted == 1)
        proxy.cut()
        for number in range(1, 50):
            sink.emit(make_event(number))
        await asyncio.sleep(0.5)
        assert sink.emitted == 1
        proxy.up()
        await until(lambda: sink.emitted == 50, timeout_s=60)
        assert not sink.dropped
        arrived = {event["request_id"] for event in await events_in(bootstrap)}
        assert arrived == {f"r-{number}" for number in range(50)}


async def test_without_a_broker_emitting_costs_nothing_and_memory_is_bounded() -> None:
    with emitter(f"127.0.0.1:{free_port()}", queue_events=100) as sink:
        started = time.perf_counter()
        for number in range(20_000):
            sink.emit(make_event(number))
        spent = time.perf_counter() - started
        assert len(sink._queue) <= 100
        assert spent < 10  # a single wait for the broker in each would take hours
        sink.close(0.2)
        assert sink.emitted == 0
        assert sum(sink.dropped.values()) == 20_000
        assert set(sink.dropped) == {"queue_full", "shutdown"}


async def test_the_newest_survive_a_full_queue(fresh_broker: Broker) -> None:
    with emitter(fresh_broker.bootstrap, queue_events=10, batch_events=1) as sink:
        # topics are missing: one event is held in the attempt to send it, ten wait
        for number in range(100):
            sink.emit(make_event(number))
            await asyncio.sleep(0)
        await create_topics(fresh_broker.bootstrap)
        await until(lambda: sink.emitted + sink.dropped["queue_full"] == 100)
    numbers = [int(e["request_id"][2:]) for e in await events_in(fresh_broker.bootstrap)]
    assert sorted(numbers)[-10:] == list(range(90, 100))
    assert len(numbers) == sink.emitted == 100 - sink.dropped["queue_full"]


async def test_closing_flushes_and_then_takes_no_more(fresh_broker: Broker) -> None:
    await create_topics(fresh_broker.bootstrap)
    with emitter(fresh_broker.bootstrap, linger_s=60) as sink:
        sink.emit(make_event(1))
        await asyncio.to_thread(sink.close, 10)
        assert sink.emitted == 1
        sink.emit(make_event(2))
        assert sink.dropped == {"shutdown": 1}
    assert len(await events_in(fresh_broker.bootstrap)) == 1


async def test_closing_ends_at_its_deadline(fresh_broker: Broker) -> None:
    await create_topics(fresh_broker.bootstrap)
    with emitter(fresh_broker.bootstrap) as sink:
        sink.emit(make_event(1))
        await until(lambda: sink.emitted == 1)
        fresh_broker.pause()
        try:
            sink.emit(make_event(2))
            started = time.monotonic()
            await asyncio.to_thread(sink.close, 0.5)
            assert time.monotonic() - started < 5
            assert (sink.emitted, sink.dropped) == (1, {"shutdown": 1})
        finally:
            fresh_broker.resume()


async def test_a_blocked_loop_does_not_stop_it(fresh_broker: Broker) -> None:
    await create_topics(fresh_broker.bootstrap)
    with emitter(fresh_broker.bootstrap) as sink:
        sink.emit(make_event(1))
        deadline = time.monotonic() + 20
        while sink.emitted == 0 and time.monotonic() < deadline:
            time.sleep(0.01)  # noqa: ASYNC251  # this is the loop that is blocked
        assert sink.emitted == 1


async def test_a_message_that_cannot_be_made_costs_no_neighbour(fresh_broker: Broker) -> None:
    await create_topics(fresh_broker.bootstrap)

    class Stranger(Message):
        """A message that no topic takes."""

    def broken() -> Message:
        raise ValueError("no")

    with emitter(fresh_broker.bootstrap) as sink:
        sink.emit(make_event(1))
        sink.emit_later(broken, 10)
        sink.emit(Stranger())
        sink.emit(make_event(2))
        sink.close(10)
    assert sink.dropped == {"invalid": 2}
    assert len(await events_in(fresh_broker.bootstrap)) == 2


@pytest.mark.parametrize("failures", [1, 5])
async def test_a_producer_that_breaks_is_replaced(fresh_broker: Broker, failures: int) -> None:
    await create_topics(fresh_broker.bootstrap)
    left = [failures]
    made = []

    def make(settings: KafkaSettings) -> Any:
        producer = make_producer(settings)
        made.append(producer)
        original = producer.send_and_wait

        async def send_and_wait(*args: Any, **kwargs: Any) -> Any:
            if left[0] > 0:
                left[0] -= 1
                raise RuntimeError("the sender task is dead")
            return await original(*args, **kwargs)

        producer.send_and_wait = send_and_wait
        return producer

    sink = KafkaEmitter(
        EmitSettings(linger_s=0), KafkaSettings(bootstrap=fresh_broker.bootstrap), make=make
    )
    sink.emit(make_event(1))
    await until(lambda: sink.emitted == 1)
    sink.close(5)
    assert len(made) == 1 + failures // 3
    assert len(await events_in(fresh_broker.bootstrap)) == 1


async def test_a_pump_that_breaks_counts_what_it_held_and_goes_on(
    fresh_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = KafkaLink.send
    calls = 0

    async def broken(self: KafkaLink, record: Record) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        await whole(self, record)

    monkeypatch.setattr(KafkaLink, "send", broken)
    await create_topics(fresh_broker.bootstrap)
    with emitter(fresh_broker.bootstrap) as sink:
        sink.emit(make_event(0))
        await until(lambda: bool(sink.dropped))
        sink.emit(make_event(1))
        await until(lambda: sink.emitted == 1)
        assert sink.dropped == {"broken": 1}


async def test_a_log_that_cannot_be_written_costs_no_event(
    fresh_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed:
        def warning(self, *_: Any, **__: Any) -> None:
            raise BrokenPipeError

        info = warning

    monkeypatch.setattr("serving.emit.link._log", Closed())
    tried = 0

    def make(settings: KafkaSettings) -> Any:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise ConnectionError
        return make_producer(settings)

    await create_topics(fresh_broker.bootstrap)
    made = KafkaEmitter(
        EmitSettings(linger_s=0.01), KafkaSettings(bootstrap=fresh_broker.bootstrap), make=make
    )
    try:
        made.emit(make_event())
        await until(lambda: made.emitted == 1)
        assert not made.dropped
    finally:
        made.close(0)
