"""Quix Streams: raw values through a dataframe into a sink that does the work by batches.

``BatchingSink`` is what the library has for work that is cheaper in batches; it is written to with
each checkpoint, here every 5,000 events.
"""

from __future__ import annotations

import tempfile
from typing import Any

from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.core.contenders.script import FETCH_BYTES, Run, Task, task


class WorkSink(BatchingSink):  # type: ignore[misc]
    """Does the work on what a checkpoint gathered."""

    def __init__(self, run: Run) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self._run = run

    def write(self, batch: SinkBatch) -> None:
        """Take one partition's records."""
        self._run.take([item.value for item in batch])


def main(given: Task) -> None:
    """Run the application until it has seen every record."""
    run = Run(given)
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as state:
        app = Application(
            broker_address=given.bootstrap,
            consumer_group=given.group,
            auto_offset_reset="earliest",
            commit_every=given.records_a_batch,
            state_dir=state,
            loglevel="WARNING",
            auto_create_topics=False,
            use_changelog_topics=False,
            consumer_extra_config={
                "session.timeout.ms": 6_000,
                "heartbeat.interval.ms": 500,
                "fetch.queue.backoff.ms": 5,
                "max.partition.fetch.bytes": FETCH_BYTES,
            },
        )
        topic = app.topic(given.topic, value_deserializer="bytes", key_deserializer="bytes")
        app.dataframe(topic).sink(WorkSink(run))
        _note_the_first(app, run)
        app.run(count=given.records)
    run.report()


def _note_the_first(app: Any, run: Run) -> None:
    """Note the first message polled; later polls are as they were."""
    consumer = app._consumer  # noqa: SLF001 - there is no other seam
    poll = consumer.poll_row

    def poll_row(*args: Any, **kwargs: Any) -> Any:
        row = poll(*args, **kwargs)
        if row is not None:
            run.first()
            consumer.poll_row = poll
        return row

    consumer.poll_row = poll_row


if __name__ == "__main__":
    main(task(__doc__))
