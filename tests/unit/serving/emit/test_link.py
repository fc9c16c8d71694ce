"""Where records go: each partition in its turn, and a record tried again to the same one."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.topics import Topics
from serving.emit import link
from serving.emit.batches import Record
from serving.emit.link import KafkaLink


class Producer:
    """Takes records in memory; fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.tried: list[int | None] = []

    async def start(self) -> None:
        """Reach nothing."""

    async def stop(self) -> None:
        """Let nothing go."""

    async def partitions_for(self, _: str) -> set[int]:
        """Return some partitions, in no order."""
        return {2, 0, 1}

    async def send_and_wait(self, *_: Any, key: bytes, partition: int | None) -> None:
        """Take a record."""
        assert key
        self.tried.append(partition)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("away")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_SETTLE_S", 0.0)
    monkeypatch.setattr(link, "_FIRST_WAIT_S", 0.0)


def record(topic: str = Topics.REQUESTS.name) -> Record:
    return Record(topic, b"k", b"[]", 1)


async def test_each_partition_of_requests_has_its_turn() -> None:
    producer = Producer()
    sending = KafkaLink(lambda: producer)
    for _ in range(9):
        await sending.send(record())
    assert sorted(producer.tried[:3], key=str) == [0, 1, 2]
    assert producer.tried == producer.tried[:3] * 3


async def test_a_record_that_is_tried_again_stays_with_its_partition() -> None:
    """Its reader tells repetitions; another partition's may be another worker."""
    producer = Producer(failures=4)
    await KafkaLink(lambda: producer).send(record())
    assert len(producer.tried) == 5
    assert len(set(producer.tried)) == 1


async def test_an_engine_keeps_the_partition_of_its_key() -> None:
    producer = Producer()
    await KafkaLink(lambda: producer).send(record(Topics.ENGINE.name))
    assert producer.tried == [None]
