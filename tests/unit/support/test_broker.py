"""The broker that the other tests lean on."""

from __future__ import annotations

import os

import pytest
from aiokafka import AIOKafkaProducer

from schemas.topics import TOPICS, Topics
from tests.support.broker import Broker, create_topics, read_all, running_broker


async def test_it_keeps_what_it_is_sent(fresh_broker: Broker) -> None:
    await create_topics(fresh_broker.bootstrap)
    await create_topics(fresh_broker.bootstrap)  # twice is as good as once
    async with AIOKafkaProducer(bootstrap_servers=fresh_broker.bootstrap) as producer:
        await producer.send_and_wait(Topics.FLAGS.name, b"value", key=b"key")
        await producer.send_and_wait(Topics.FLAGS.name, b"newer", key=b"key")
    assert await read_all(fresh_broker.bootstrap, Topics.FLAGS.name) == [
        (b"key", b"value"),
        (b"key", b"newer"),
    ]
    for topic in TOPICS:
        assert await read_all(fresh_broker.bootstrap, topic.name) is not None


def test_it_ends_with_its_block() -> None:
    with running_broker() as broker:
        os.kill(broker.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(broker.pid, 0)


async def test_the_session_broker_answers(broker: Broker) -> None:
    await create_topics(broker.bootstrap, [Topics.ACTIONS])
