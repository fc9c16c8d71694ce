"""Kafka has the topics that the table says, and making them again changes nothing."""

from __future__ import annotations

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.settings import KafkaSettings
from schemas.topic_admin import ensure_topics, missing_topics
from schemas.topics import TOPICS
from tests.kafka.rig import Rig

pytestmark = pytest.mark.kafka


async def test_kafka_has_the_topics_as_the_table_says(rig: Rig) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
    await admin.start()
    try:
        names = [topic.name for topic in TOPICS]
        described = await admin.describe_topics(names)
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        responses = await admin.describe_configs(resources)
    finally:
        await admin.close()
    partitions = {topic["topic"]: len(topic["partitions"]) for topic in described}
    assert partitions == {topic.name: topic.partitions for topic in TOPICS}
    configs = {
        name: {entry[0]: entry[1] for entry in entries}
        for response in responses
        for _, _, _, name, entries in response.resources
    }
    assert {
        topic.name: {key: configs[topic.name][key] for key in topic.config} for topic in TOPICS
    } == {topic.name: topic.config for topic in TOPICS}


async def test_topics_that_are_there_are_left_alone(rig: Rig) -> None:
    settings = KafkaSettings(bootstrap=rig.bootstrap)
    assert await missing_topics(settings) == []
    assert await ensure_topics(settings) == []
