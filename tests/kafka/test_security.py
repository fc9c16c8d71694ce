"""SCRAM over TLS against Apache Kafka: all that serving sends and reads goes through it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from schemas.settings import EmitSettings, KafkaSettings
from schemas.topic_admin import TopicError, ensure_topics, missing_topics
from schemas.topics import TOPICS, Topics
from serving.emit.emitter import KafkaEmitter
from serving.emit.link import make_producer
from serving.executor import run_executor
from tests.support.actions import NOW_US, asked, promoted_flags
from tests.support.broker import read_all
from tests.support.kafka import Kafka, kafka_libs, missing_tools, running_kafka
from tests.support.waiting import until
from tests.unit.serving.emit.events import make_event
from tests.unit.serving.executor_process import settings_of

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    if missing := missing_tools():
        pytest.skip(f"Apache Kafka needs {' and '.join(missing)}")
    libs, _ = kafka_libs()
    with running_kafka(tmp_path_factory.mktemp("secure"), libs, secure=True) as running:
        yield running


def settings(node: Kafka, **changes: object) -> KafkaSettings:
    assert node.secured is not None
    return KafkaSettings.model_validate(dict(node.settings()) | changes)


async def test_topics_events_and_actions(node: Kafka, tmp_path: Path) -> None:
    kafka = settings(node)
    assert len(await ensure_topics(kafka)) == len(TOPICS)
    assert await missing_topics(kafka) == []

    emitter = KafkaEmitter(EmitSettings(), kafka)
    await asyncio.to_thread(emitter.emit, make_event())
    await asyncio.to_thread(emitter.close, 20)
    assert (emitter.emitted, dict(emitter.dropped)) == (1, {})
    assert len(await read_all(node.bootstrap, Topics.REQUESTS.name)) == 1

    promoted_flags(tmp_path / "flags.json")
    base = settings_of("", tmp_path)
    stop = asyncio.Event()
    made = base.model_copy(update={"kafka": kafka})
    executing = asyncio.create_task(run_executor(made, stop, now_us=lambda: NOW_US))
    producer = make_producer(kafka)
    await producer.start()
    try:
        await producer.send_and_wait(Topics.ACTIONS.name, asked().to_json(), key=b"f")

        async def answered() -> bool:
            records = await read_all(node.bootstrap, Topics.ACTIONS.name)
            return any(b'"status":"applied"' in (value or b"") for _, value in records)

        await until(answered, 40)
    finally:
        await producer.stop()
        stop.set()
        await executing


@pytest.mark.parametrize(
    "changes",
    [{"password": "wrong"}, {"ca_file": None}, {"security_protocol": "SASL_PLAINTEXT"}],
    ids=["wrong password", "unknown authority", "no TLS"],
)
async def test_who_does_not_fit_is_refused(node: Kafka, changes: dict[str, object]) -> None:
    with pytest.raises(TopicError) as caught:
        await asyncio.wait_for(missing_topics(settings(node, **changes)), 60)
    secured = node.secured
    assert secured is not None
    assert secured.password not in str(caught.value)
    producer = make_producer(settings(node, **changes))
    with pytest.raises((KafkaError, OSError)):
        await asyncio.wait_for(producer.start(), 60)
    await producer.stop()
