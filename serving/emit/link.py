"""A Kafka producer that comes up when the broker does, and again when it comes back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from schemas.kafka_client import kafka_client
from schemas.settings import KafkaSettings
from schemas.topics import Topics
from serving.emit import counters
from serving.emit.batches import Record
from serving.errors import EventTooLargeError

__all__ = ["KafkaLink", "make_producer"]

_REQUEST_TIMEOUT_MS: Final = 10_000
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 5.0
_SETTLE_S: Final = 0.25
_FAILURES_BEFORE_A_NEW_PRODUCER: Final = 3

_log = structlog.get_logger("tocsin.emit")


def make_producer(settings: KafkaSettings) -> AIOKafkaProducer:
    """Return a producer that waits for all replicas.

    It does not linger: what it is given is a batch already. Idempotence is not asked for, because
    not every broker has it, and event ids make repeated batches harmless.
    """
    return AIOKafkaProducer(
        **kafka_client(settings, "emit"),
        acks="all",
        linger_ms=0,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        max_request_size=4 * 1024 * 1024,
    )


class KafkaLink:
    """Send records until the broker has acknowledged them, however long that takes."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._producer: Any = None
        self._failures = 0
        self._settled: set[str] = set()
        self._turn = random.randrange(1_000_000)  # noqa: S311  # so that servers spread out

    async def send(self, record: Record) -> None:
        """Send one record, trying again with growing waits until it is acknowledged or cancelled.

        Raises:
            EventTooLargeError: when no attempt can ever succeed.
        """
        partition: int | None = None
        while True:
            try:
                producer = await self.connect()
                await self._settle(producer, record.topic)
                partition = await self._place(producer, record.topic, partition)
                await producer.send_and_wait(
                    record.topic, record.value, key=record.key, partition=partition
                )
            except MessageSizeTooLargeError as error:
                raise EventTooLargeError(f"{len(record.value)} bytes in one record") from error
            except Exception as error:  # noqa: BLE001  # the batch is tried again
                await self._failed(error)
            else:
                self._worked()
                return

    async def _place(self, producer: Any, topic: str, before: int | None) -> int | None:
        """Return each partition of ``llm.requests`` in turn; a record that is tried again stays.

        By the hash of its key, chance leaves a partition without news for a second now and then,
        and all windows wait for it.
        """
        if topic != Topics.REQUESTS.name:
            return None
        partitions = sorted(await producer.partitions_for(topic))
        if before in partitions:
            return before
        self._turn += 1
        return int(partitions[self._turn % len(partitions)])

    async def _settle(self, producer: Any, topic: str) -> None:
        """Before the first record to a topic, give the broker a moment to finish creating it.

        Tansu 0.6 shows a topic before it is whole; a record sent at that very moment is
        acknowledged and then hidden by a watermark of 0.
        """
        if topic not in self._settled:
            await producer.partitions_for(topic)
            await asyncio.sleep(_SETTLE_S)
            self._settled.add(topic)

    async def connect(self) -> Any:
        """Return a producer that has reached the broker once."""
        if self._producer is None:
            producer = self._make()
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
            counters.CONNECTED.set(1)
        return self._producer

    async def close(self) -> None:
        """Let the connections go."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
        counters.CONNECTED.set(0)

    def _worked(self) -> None:
        if self._failures:
            _say(_log.info, "the broker is reached again", after_failures=self._failures)
        self._failures = 0
        counters.CONNECTED.set(1)

    async def _failed(self, error: Exception) -> None:
        counters.SEND_FAILURES.inc()
        counters.CONNECTED.set(0)
        if not self._failures:
            _say(
                _log.warning,
                "the broker does not answer; events wait in memory, requests go on",
                error=f"{type(error).__name__}: {error}",
            )
        self._failures += 1
        self._settled.clear()
        if self._producer is not None and self._failures % _FAILURES_BEFORE_A_NEW_PRODUCER == 0:
            try:
                await asyncio.wait_for(self.close(), timeout=_LONGEST_WAIT_S)
            except Exception as problem:  # noqa: BLE001  # it is left behind
                counters.contained("stop_producer", problem)
        wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(self._failures - 1, 10))
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret


def _say(write: Callable[..., Any], text: str, **fields: Any) -> None:
    """Write to the log; one that cannot be written must not cost the batch in hand."""
    with suppress(Exception):
        write(text, **fields)
