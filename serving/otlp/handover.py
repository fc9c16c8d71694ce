"""Hand events over to Kafka: acknowledged by all replicas, or not taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

import structlog
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from schemas.dead_letter import DeadLetter
from schemas.settings import EmitSettings, KafkaSettings
from schemas.topics import Topics
from serving.emit.batches import Encoded, Record, pack
from serving.emit.link import make_producer
from serving.errors import OtlpBusyError
from serving.otlp import metrics

__all__ = ["Handover", "HandsOver"]

T = TypeVar("T")

_SETTLE_S: Final = 0.25
_CLOSE_S: Final = 5.0
_STOP_S: Final = 15.0
"""Longer than a producer keeps what no broker takes; stopped sooner, it would go on in secret."""

_log = structlog.get_logger("tocsin.otlp")


class HandsOver(Protocol):
    """What takes events for good: Kafka, or a test's memory."""

    async def send(self, events: Sequence[Encoded], letters: Sequence[DeadLetter]) -> None:
        """Take all of it; see ``Handover.send``."""

    async def close(self) -> None:
        """Let the connections go."""


class Handover:
    """Sends events to ``llm.requests`` and letters to ``llm.dead-letter``.

    An event's partition is chosen by its id alone, whatever comes with it: an export that is sent
    again has its events where they were the first time, and the partition's reader tells them as
    repetitions.

    Args:
        emit: how much a record may hold.
        kafka: the broker.
        timeout_s: how long the broker may take for one step: to be reached, to take a record. An
            export as a whole may take longer, as long as it gets on.
        retry_after_s: what clients are told to wait.
        make: makes a producer.
    """

    def __init__(
        self,
        emit: EmitSettings,
        kafka: KafkaSettings,
        *,
        timeout_s: float,
        retry_after_s: int,
        make: Callable[[KafkaSettings], Any] = make_producer,
    ) -> None:
        self._emit = emit
        self._kafka = kafka
        self._timeout_s = timeout_s
        self._retry_after_s = retry_after_s
        self._make = make
        self._producer: Any = None
        self._starting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._reached = True

    async def send(self, events: Sequence[Encoded], letters: Sequence[DeadLetter]) -> None:
        """Return once the broker has acknowledged all of it; letters go after the events.

        Raises:
            OtlpBusyError: 503, it did not. Some may be there all the same; sent again they are
                repetitions.
        """
        if not events and not letters:
            return
        producer = None
        try:
            producer = await self._soon(self._connected())
            await self._send(producer, await self._records(producer, events))
            await self._send(producer, [_record(letter) for letter in letters])
        except (KafkaError, OSError, TimeoutError) as error:
            metrics.BROKER_FAILURES.inc()
            self._give_up(producer)
            said = f"{type(error).__name__}: {error}"[:300]
            if self._reached:
                _log.warning("the broker takes nothing; exports are refused", error=said)
            self._reached = False
            text = "the broker does not take it now; nothing is lost if you try again"
            raise OtlpBusyError(503, text, self._retry_after_s) from error
        if not self._reached:
            _log.info("the broker is reached again")
        self._reached = True

    async def close(self) -> None:
        """Let the connections go."""
        self._give_up(self._producer)
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_S)

    async def _soon(self, step: Awaitable[T]) -> T:
        async with asyncio.timeout(self._timeout_s):
            return await step

    async def _send(self, producer: Any, records: Iterable[tuple[int | None, Record]]) -> None:
        """Send records all at once and wait for each."""
        pending: list[asyncio.Future[Any]] = []
        try:
            for partition, record in records:
                sending = producer.send(
                    record.topic, record.value, key=record.key, partition=partition
                )
                pending.append(await self._soon(sending))
            for sent in pending:
                await self._soon(sent)
        finally:
            for sent in pending:
                if not sent.cancel() and not sent.cancelled():
                    sent.exception()  # else asyncio complains that nobody has looked

    async def _records(
        self, producer: Any, events: Sequence[Encoded]
    ) -> list[tuple[int | None, Record]]:
        if not events:
            return []
        partitions = sorted(await self._soon(producer.partitions_for(Topics.REQUESTS.name)))
        choose = DefaultPartitioner()
        by_partition: dict[int, list[Encoded]] = {}
        for event in events:
            chosen = choose(event.key, partitions, partitions)
            by_partition.setdefault(chosen, []).append(event)
        return [
            (partition, record)
            for partition, part in by_partition.items()
            for record in pack(part, self._emit.batch_events, self._emit.batch_bytes)
        ]

    async def _connected(self) -> Any:
        async with self._starting:
            if self._producer is None:
                producer = self._make(self._kafka)
                try:
                    await producer.start()
                    # A topic that is only now being made has to be whole before the first record.
                    for topic in (Topics.REQUESTS, Topics.DEAD_LETTER):
                        await producer.partitions_for(topic.name)
                    await asyncio.sleep(_SETTLE_S)
                except BaseException:
                    self._stop(producer)
                    raise
                self._producer = producer
            return self._producer

    def _give_up(self, producer: Any) -> None:
        """Leave a producer, with what it still holds; the next export makes another."""
        if producer is not None and producer is self._producer:
            self._producer = None
            self._stop(producer)

    def _stop(self, producer: Any) -> None:
        task = asyncio.create_task(_stopped(producer))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _record(letter: DeadLetter) -> tuple[None, Record]:
    key = letter.topic.encode()
    return None, Record(Topics.DEAD_LETTER.name, key, letter.to_json(), 1)


async def _stopped(producer: Any) -> None:
    with suppress(Exception):
        await asyncio.wait_for(producer.stop(), timeout=_STOP_S)
