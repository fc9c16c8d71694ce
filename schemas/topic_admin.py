"""Create the topics that are missing; an existing topic is left as it is."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from schemas.errors import TocsinError
from schemas.kafka_client import kafka_client
from schemas.settings import KafkaSettings
from schemas.topics import TOPICS, Topic

__all__ = ["TopicError", "ensure_topics", "missing_topics"]


class TopicError(TocsinError):
    """A topic cannot be listed or created; the text says which and why."""


async def ensure_topics(kafka: KafkaSettings, topics: tuple[Topic, ...] = TOPICS) -> list[str]:
    """Create the missing topics and return their names; safe to run by several at once.

    Raises:
        TopicError: the broker is not there, or it refuses a topic.
    """
    admin = AIOKafkaAdminClient(**kafka_client(kafka))
    try:
        await admin.start()
        known = set(await admin.list_topics())
        missing = [topic for topic in topics if topic.name not in known]
        if missing:
            await _create(admin, kafka, missing)
        return [topic.name for topic in missing]
    except (KafkaError, OSError) as error:
        raise TopicError(f"broker {kafka.bootstrap}: {error}") from error
    finally:
        await admin.close()


async def missing_topics(kafka: KafkaSettings) -> list[str]:
    """Return the names of topics that the broker does not have.

    Raises:
        TopicError: the broker is not there.
    """
    admin = AIOKafkaAdminClient(**kafka_client(kafka))
    try:
        await admin.start()
        known = set(await admin.list_topics())
    except (KafkaError, OSError) as error:
        raise TopicError(f"broker {kafka.bootstrap}: {error}") from error
    finally:
        await admin.close()
    return [topic.name for topic in TOPICS if topic.name not in known]


async def _create(admin: AIOKafkaAdminClient, kafka: KafkaSettings, topics: list[Topic]) -> None:
    # Only topics spread over several partitions follow the setting: single ones are single for a
    # reason.
    new = [
        NewTopic(
            topic.name,
            num_partitions=(kafka.partitions or topic.partitions) if topic.partitions > 1 else 1,
            replication_factor=kafka.replication_factor,
            topic_configs=topic.config,
        )
        for topic in topics
    ]
    response = await admin.create_topics(new)
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise TopicError(f"topic {name}: {error.__name__}: {message}")
