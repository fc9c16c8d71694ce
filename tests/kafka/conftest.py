"""One Kafka and one worker for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kafka.rig import Rig, running_rig
from tests.support.kafka import KAFKA_VERSION, Kafka, kafka_libs, missing_tools, running_kafka


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Run Apache Kafka; the jars are fetched once."""
    if missing := missing_tools():
        pytest.skip(f"Apache Kafka needs {' and '.join(missing)} (Java 17 and Maven)")
    libs, seconds = kafka_libs()
    print(f"\nKafka {KAFKA_VERSION}: jars in {seconds:.1f} s")  # noqa: T201
    with running_kafka(tmp_path_factory.mktemp("kafka"), libs) as node:
        print(f"Kafka answers after {node.started_s:.1f} s")  # noqa: T201
        yield node


@pytest.fixture(scope="session")
def rig(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Run store and worker against it."""
    with running_rig(tmp_path_factory.mktemp("rig"), kafka.bootstrap) as running:
        yield running
