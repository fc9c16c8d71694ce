"""Obey: take action requests from `llm.actions`, act, and report back as events.

Offsets are committed only after the result is acknowledged. What was applied stands in the flag
file's ledger, and what was answered stands in the log, so a replay after a crash acts on nothing
twice and tells no other result than before.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from prometheus_client import Counter
from pydantic import ValidationError

from schemas.action import ActionRequested, ActionResult, KillSwitch, action_message
from schemas.kafka_client import kafka_client
from schemas.settings import Settings
from schemas.topics import Topics
from serving.actuators import levers
from serving.answered import answered
from serving.errors import FlagError
from serving.flags.publish import FlagPublisher
from serving.flags.store import FlagStore
from serving.granted import decisions_on
from serving.kill_switch import KillSwitchTeller
from serving.obey import Obedience

__all__ = ["GROUP", "Executor", "run_executor"]

GROUP: Final = "tocsin-executor"
_RETRY_S: Final = 1.0
_FLAGS_EVERY_S: Final = 1.0
_CLOSE_S: Final = 10.0
_COMMIT_S: Final = 3.0

ACTIONS: Final = Counter(
    "tocsin_executor_actions", "Actions by what became of them.", ["kind", "status"]
)
UNREADABLE: Final = Counter(
    "tocsin_executor_unreadable", "Records of llm.actions that are no message."
)

_log = structlog.get_logger("tocsin.executor")


async def run_executor(
    settings: Settings, stop: asyncio.Event, *, now_us: Callable[[], int] | None = None
) -> None:
    """Run the executor until `stop` is set; a broker that is down is waited for."""
    await Executor(settings, now_us=now_us or _wall_us).run(stop)


class Executor:
    """One consumer of `llm.actions`; of several running, the group lets one act."""

    def __init__(self, settings: Settings, *, now_us: Callable[[], int]) -> None:
        self._settings = settings
        self._now_us = now_us
        self.name = f"{GROUP}@{socket.gethostname()}:{os.getpid()}"
        self._store = FlagStore(settings.flags.path)
        self._obedience = Obedience(
            levers(self._store, settings),
            data_dir=settings.data_dir,
            executor=self.name,
            request_age_s=settings.actuators.request_age_s,
            dry_run=settings.alerting.dry_run,
            modes=settings.alerting.modes,
            decisions=partial(decisions_on, settings.kafka),
        )
        kafka = settings.kafka
        self._producer = AIOKafkaProducer(**kafka_client(kafka, "executor"), acks="all")
        self._consumer = AIOKafkaConsumer(
            **kafka_client(kafka, "executor"),
            group_id=GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=round(kafka.session_timeout_s * 1000),
            heartbeat_interval_ms=round(kafka.heartbeat_interval_s * 1000),
            metadata_max_age_ms=5_000,
        )
        self._publisher = FlagPublisher(self._producer)
        self._publishing = asyncio.Lock()
        self._unread: set[TopicPartition] = set()
        self._answered: set[str] = set()
        self._kill_switch = KillSwitchTeller(
            settings.data_dir, self.name, now_us, self._send_kill_switch
        )
        self._flag_fault: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Obey until `stop` is set."""
        flags: asyncio.Task[None] | None = None
        try:
            if not await self._until_done(stop, self._producer.start):
                return
            if not await self._until_done(stop, self._consumer.start):
                return
            flags = asyncio.create_task(self._tell_flags(stop))
            self._consumer.subscribe([Topics.ACTIONS.name], listener=_Assigned(self))
            _log.info("executor is ready", name=self.name, flags=str(self._store.path))
            while not stop.is_set():
                await self._step(stop)
        finally:
            if flags is not None:
                flags.cancel()
                with suppress(asyncio.CancelledError):
                    await flags
            await _contained(self._consumer.stop())
            await _contained(self._producer.stop())

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Note partitions whose answers have to be read before anything is acted on."""
        self._unread |= set(partitions)
        self._kill_switch.leave()

    def revoked(self) -> None:
        """Note that another executor may act now."""
        self._kill_switch.leave()

    async def _look_behind(self) -> None:
        """Learn which requests are answered already."""
        partitions = frozenset(self._unread)
        found = await answered(self._settings.kafka, partitions)
        self._answered |= found.actions
        self._unread -= partitions
        self._kill_switch.take_over(found.kill_switch)
        await self._kill_switch.tell()

    async def _step(self, stop: asyncio.Event) -> None:
        try:
            batches = await self._consumer.getmany(timeout_ms=200)
        except KafkaError as error:
            _log.warning("cannot read actions; trying again", error=repr(error))
            await _pause(stop, _RETRY_S)
            return
        if self._unread and not await self._until_done(stop, self._look_behind):
            return
        for partition, records in batches.items():
            for record in records:
                if not await self._take(record, stop):
                    return  # stopped before it was done: not committed, so it comes again
            await self._commit(partition, records[-1].offset + 1)

    async def _commit(self, partition: TopicPartition, offset: int) -> None:
        """Tell the group how far this is; what it does not hear of comes again, and is answered.

        With no broker to answer aiokafka would wait for ever, and hear of no stop.
        """
        try:
            async with asyncio.timeout(_COMMIT_S):
                await self._consumer.commit({partition: offset})
        except (CommitFailedError, IllegalStateError):
            pass  # the partition went to another executor meanwhile, and is its to commit
        except TimeoutError:
            _log.warning("the broker does not answer; not committed", offset=offset)

    async def _take(self, record: ConsumerRecord[bytes, bytes], stop: asyncio.Event) -> bool:
        """Act on one record and report; return False when stopped before the report is safe."""
        try:
            request = action_message.validate_json(record.value or b"")
        except ValidationError as error:
            UNREADABLE.inc()
            _log.warning(
                "a record of llm.actions is no message",
                partition=record.partition,
                offset=record.offset,
                errors=error.error_count(),
            )
            return True
        if not isinstance(request, ActionRequested) or request.action_id in self._answered:
            return True
        results: list[ActionResult] = []

        async def answer() -> None:
            results.append(await self._obedience.answer(request, self._now_us()))

        if not await self._until_done(stop, answer):
            return False
        (result,) = results
        ACTIONS.labels(result.kind, result.status).inc()
        _log.info(
            "action",
            action=result.action_id,
            kind=result.kind,
            status=result.status,
            reason=result.reason,
            incident=result.incident_id,
        )
        if not await self._until_done(stop, lambda: self._report(result)):
            return False
        self._answered.add(result.action_id)
        return True

    async def _report(self, result: ActionResult) -> None:
        await self._publish_flags()
        await self._kill_switch.tell()
        await self._producer.send_and_wait(
            Topics.ACTIONS.name, result.to_json(), key=result.fingerprint.encode()
        )

    async def _send_kill_switch(self, message: KillSwitch) -> None:
        await self._producer.send_and_wait(
            Topics.ACTIONS.name, message.to_json(), key=b"kill-switch"
        )

    async def _tell_flags(self, stop: asyncio.Event) -> None:
        """Keep `llm.flags` true to the file, whoever changes it, and tell of the kill switch."""
        while not stop.is_set():
            with suppress(KafkaError):  # the next round sends it again
                await self._publish_flags()
                await self._kill_switch.tell()
            await _pause(stop, _FLAGS_EVERY_S)

    async def _publish_flags(self) -> None:
        async with self._publishing:  # what was read first must not be sent last
            try:
                document = await asyncio.to_thread(self._store.adopt, self._now_us())
            except (FlagError, OSError) as error:
                if str(error) != self._flag_fault:
                    self._flag_fault = str(error)
                    _log.error("the flag file cannot be used", error=str(error))
                return
            self._flag_fault = None
            await self._publisher.publish(document)

    async def _until_done(self, stop: asyncio.Event, act: Callable[[], Awaitable[None]]) -> bool:
        """Do something with the broker, again and again until it works; False when stopped."""
        while True:
            try:
                await act()
            except KafkaError as error:
                _log.warning("the broker does not answer; trying again", error=repr(error))
                await _pause(stop, _RETRY_S)
                if stop.is_set():
                    return False
            else:
                return True


class _Assigned(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types here
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def on_partitions_revoked(
        self,
        revoked: Iterable[TopicPartition],  # noqa: ARG002 - there is one partition
    ) -> None:
        """Leave the kill switch to another to tell of; what is done is committed."""
        self._executor.revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Have the answers read before the first record is acted on."""
        self._executor.assigned(assigned)


async def _contained(closing: Coroutine[None, None, None]) -> None:
    """Close a client; against a dead broker aiokafka lets its own cancellations escape."""
    task = asyncio.create_task(closing)
    await asyncio.wait({task}, timeout=_CLOSE_S)
    task.cancel()
    if task.done() and not task.cancelled() and (error := task.exception()):
        _log.warning("a client did not close cleanly", error=repr(error))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _wall_us() -> int:
    return time.time_ns() // 1_000
