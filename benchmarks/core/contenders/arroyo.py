"""Sentry's Arroyo: its batch step, then the work, then the commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from arroyo.backends.kafka import KafkaConsumer
from arroyo.backends.kafka.configuration import build_kafka_consumer_configuration
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import (
    BatchStep,
    CommitOffsets,
    ProcessingStrategy,
    ProcessingStrategyFactory,
    RunTask,
)
from arroyo.types import Commit, Message, Partition, Topic

from benchmarks.core.contenders.script import FETCH_BYTES, Run, Task, task

WITHIN_S = 1.0  # batches close by their size; by time only what is left at the end


class Steps(ProcessingStrategyFactory):  # type: ignore[misc]
    """Makes the steps when partitions are assigned."""

    def __init__(self, take: Callable[[Sequence[bytes]], None], records: int) -> None:
        self._take = take
        self._records = records

    def create_with_partitions(
        self,
        commit: Commit,
        partitions: Mapping[Partition, int],  # noqa: ARG002 - the interface
    ) -> ProcessingStrategy[Any]:
        """Return batch, work, commit."""

        def whole(message: Message[Any]) -> None:
            self._take([value.payload.value for value in message.payload])

        return BatchStep(self._records, WITHIN_S, RunTask(whole, CommitOffsets(commit)))


def main(given: Task) -> None:
    """Run the processor until it has seen every event."""
    run = Run(given)
    consumer = KafkaConsumer(
        build_kafka_consumer_configuration(
            {},
            given.group,
            auto_offset_reset="earliest",
            queued_max_messages_kbytes=65_536,
            queued_min_messages=100_000,
            bootstrap_servers=[given.bootstrap],
            override_params={
                "session.timeout.ms": 6_000,
                "heartbeat.interval.ms": 500,
                "fetch.queue.backoff.ms": 5,
                "max.partition.fetch.bytes": FETCH_BYTES,
            },
            enable_auto_commit=False,
        )
    )
    _note_the_first(consumer, run)

    def take(values: Sequence[bytes]) -> None:
        run.take(values)
        if run.done:
            processor.signal_shutdown()

    steps = Steps(take, given.records_a_batch)
    processor = StreamProcessor(consumer, Topic(given.topic), steps)
    processor.run()
    run.report()


def _note_the_first(consumer: Any, run: Run) -> None:
    """Note the first message polled; later polls are as they were."""
    poll = consumer.poll

    def watched(timeout: float | None = None) -> Any:
        message = poll(timeout)
        if message is not None:
            run.first()
            consumer.poll = poll
        return message

    consumer.poll = watched


if __name__ == "__main__":
    main(task(__doc__))
