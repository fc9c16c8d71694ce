"""What `llm.flags` is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.flag import FlagKey, FlagValue
from schemas.topics import Topics
from serving.flags.document import Flag, FlagDocument
from serving.flags.publish import FlagPublisher, flag_value
from tests.support.actions import NOW_US, promoted_flags
from tests.support.broker import Broker, create_topics, read_all


async def test_only_what_is_new_is_sent(fresh_broker: Broker, tmp_path: Path) -> None:
    await create_topics(fresh_broker.bootstrap, [Topics.FLAGS])
    store = promoted_flags(tmp_path / "flags.json")
    async with AIOKafkaProducer(bootstrap_servers=fresh_broker.bootstrap) as producer:
        publisher = FlagPublisher(producer)
        sent = {value.key for value in await publisher.publish(store.read())}
        assert sent == set(store.read().flags)
        assert await publisher.publish(store.read()) == []
        changed = store.set_variant(
            FlagKey.MODEL_VERSION, "v1", by="bob", reason="back", at_us=NOW_US
        )
        assert await publisher.publish(changed) == [flag_value(changed, FlagKey.MODEL_VERSION)]
    records = await read_all(fresh_broker.bootstrap, Topics.FLAGS.name)
    key, value = records[-1]
    assert key == b"ai.model.version"
    told = FlagValue.model_validate_json(value or b"")
    assert (told.variant, told.previous_variant, told.changed_by) == ("v1", "v2", "bob")
    assert told.revision == changed.revision


class _Refusing:
    async def send_and_wait(self, *_: object, **__: object) -> None:
        raise KafkaError("not now")


async def test_what_was_not_taken_is_sent_again(fresh_broker: Broker, tmp_path: Path) -> None:
    await create_topics(fresh_broker.bootstrap, [Topics.FLAGS])
    document = promoted_flags(tmp_path / "flags.json").read()
    publisher = FlagPublisher(_Refusing())
    with pytest.raises(KafkaError):
        await publisher.publish(document)
    async with AIOKafkaProducer(bootstrap_servers=fresh_broker.bootstrap) as producer:
        publisher._producer = producer
        assert len(await publisher.publish(document)) == len(document.flags)


def test_a_flag_without_history() -> None:
    flag = Flag(key=FlagKey.FEATURE_ENABLED, variants={"on": True, "off": False}, variant="on")
    told = flag_value(FlagDocument(flags={flag.key: flag}), flag.key)
    assert (told.revision, told.previous_variant, told.changed_by) == (1, None, "file")
