"""Events on their way to Kafka: acknowledged, or the client is told to come again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from schemas.codec import decode_records
from schemas.dead_letter import DeadLetter, DeadLetterReason
from schemas.event import RequestEvent
from schemas.settings import EmitSettings, KafkaSettings
from schemas.topics import Topics
from serving.emit.batches import Encoded, encode
from serving.errors import OtlpBusyError
from serving.otlp.handover import Handover
from serving.otlp.letters import letter_of
from serving.otlp.sort import Refused
from tests.support.broker import Broker, create_topics, read_all
from tests.support.events import NOW_US, numbered_id
from tests.support.events import event as event_with
from tests.unit.serving.otlp.world import span

LETTER = letter_of(Refused(span(), DeadLetterReason.INVALID_VALUE, "bad"), NOW_US)


def event(number: int) -> Encoded:
    return encode(event_with(event_id=numbered_id(number)))


@asynccontextmanager
async def handing(bootstrap: str, timeout_s: float = 10, **emit: Any) -> AsyncIterator[Handover]:
    kafka = KafkaSettings(bootstrap=bootstrap)
    handover = Handover(EmitSettings(**emit), kafka, timeout_s=timeout_s, retry_after_s=7)
    try:
        yield handover
    finally:
        await handover.close()


async def events_of(bootstrap: str) -> list[RequestEvent]:
    values = [value for _, value in await read_all(bootstrap, Topics.REQUESTS.name)]
    decoded = decode_records(values, now_us=NOW_US, future_us=0, max_bytes=2**20)
    assert decoded.refused == []
    return decoded.events


async def test_what_is_sent_is_there(fresh_broker: Broker) -> None:
    await create_topics(fresh_broker.bootstrap)
    events = [event(number) for number in range(50)]
    async with handing(fresh_broker.bootstrap, batch_events=10) as handover:
        await handover.send([], [])
        await handover.send(events, [LETTER])
    found = await events_of(fresh_broker.bootstrap)
    assert sorted(str(one.event_id).encode() for one in found) == [one.key for one in events]
    ((_, letter),) = await read_all(fresh_broker.bootstrap, Topics.DEAD_LETTER.name)
    assert DeadLetter.model_validate_json(letter) == LETTER


class Producer:
    """Keeps what it is sent, partition by partition, and fails when told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int | None, bytes]] = []
        self.failing: Exception | None = None
        self.hanging = False
        self.silent = False
        self.slow_s = 0.0
        self.stopped = False

    async def start(self) -> None:
        await self._trouble()

    async def stop(self) -> None:
        self.stopped = True

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(4))

    async def send(
        self, topic: str, value: bytes, key: bytes, partition: int | None = None
    ) -> asyncio.Future[None]:
        await self._trouble()
        await asyncio.sleep(self.slow_s)
        self.sent.append((topic, partition, value))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self.silent:
            done.set_result(None)
        return done

    async def _trouble(self) -> None:
        if self.failing is not None:
            raise self.failing
        if self.hanging:
            await asyncio.Event().wait()

    def partitions(self) -> dict[str, int | None]:
        """Return where each event is."""
        found = {}
        for topic, partition, value in self.sent:
            if topic == Topics.REQUESTS.name:
                decoded = decode_records([value], now_us=NOW_US, future_us=0, max_bytes=2**20)
                found |= dict.fromkeys(decoded.columns.values("event_id"), partition)
        return found


def faked(producers: list[Producer], timeout_s: float = 10) -> Handover:
    left = iter(producers)
    return Handover(
        EmitSettings(),
        KafkaSettings(),
        timeout_s=timeout_s,
        retry_after_s=7,
        make=lambda _: next(left),
    )


async def test_an_event_has_its_partition_whatever_comes_with_it() -> None:
    producer = Producer()
    handover = faked([producer])
    events = [event(number) for number in range(100)]
    await handover.send(events, [])
    whole, records = producer.partitions(), len(producer.sent)
    assert records == 4
    assert len(Counter(whole.values())) == 4
    producer.sent.clear()
    for one in reversed(events):
        await handover.send([one], [])
    assert producer.partitions() == whole


async def test_letters_go_after_the_events() -> None:
    producer = Producer()
    await faked([producer]).send([event(1)], [LETTER])
    assert [topic for topic, *_ in producer.sent] == ["llm.requests", "llm.dead-letter"]


@pytest.mark.parametrize("error", [KafkaTimeoutError(), OSError("gone")])
async def test_a_broker_that_fails_means_come_again_and_the_next_export_connects_anew(
    error: Exception,
) -> None:
    first, second = Producer(), Producer()
    handover = faked([first, second])
    await handover.send([event(1)], [])
    first.failing = error
    with pytest.raises(OtlpBusyError, match="try again") as caught:
        await handover.send([event(2)], [])
    assert (caught.value.status, caught.value.retry_after_s) == (503, 7)
    await handover.send([event(2)], [])
    assert len(second.sent) == 1
    await handover.close()
    assert (first.stopped, second.stopped) == (True, True)


@pytest.mark.parametrize("where", ["start", "send", "acknowledge"])
async def test_a_broker_that_hangs_is_not_waited_for_longer_than_allowed(where: str) -> None:
    first, second = Producer(), Producer()
    handover = faked([first, second], timeout_s=1.5)
    if where != "start":
        await handover.send([event(1)], [])
    first.hanging = where != "acknowledge"
    first.silent = where == "acknowledge"
    with pytest.raises(OtlpBusyError):
        await handover.send([event(2)], [LETTER])
    await handover.send([event(2)], [LETTER])
    assert len(second.sent) == 2


async def test_an_export_that_gets_on_may_take_longer_than_one_step() -> None:
    producer = Producer()
    producer.slow_s = 0.15
    handover = faked([producer], timeout_s=1.5)
    await handover.send([event(number) for number in range(40)], [LETTER] * 10)
    assert len(producer.sent) == 4 + 10


async def test_a_real_broker_that_stalls_and_goes_on(fresh_broker: Broker) -> None:
    await create_topics(fresh_broker.bootstrap)
    async with handing(fresh_broker.bootstrap, timeout_s=2) as handover:
        await handover.send([event(1)], [])
        fresh_broker.pause()
        try:
            with pytest.raises(OtlpBusyError):
                await handover.send([event(2)], [])
        finally:
            fresh_broker.resume()
        for _ in range(20):
            try:
                await handover.send([event(2)], [])
            except OtlpBusyError:
                await asyncio.sleep(0.5)
            else:
                break
    found = Counter(one.event_id for one in await events_of(fresh_broker.bootstrap))
    assert found.keys() == {numbered_id(1), numbered_id(2)}
    assert found[numbered_id(1)] == 1
