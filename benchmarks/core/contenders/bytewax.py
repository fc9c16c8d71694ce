"""Bytewax: the batches of its Kafka source, each handed whole to the work."""

from __future__ import annotations

from typing import Any

from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from bytewax.testing import TestingSink

from benchmarks.core.contenders.script import FETCH_BYTES, Run, Task, task


def main(given: Task) -> None:
    """Run the dataflow to the topic's end."""
    run = Run(given)

    def whole(batch: list[Any]) -> list[Any]:
        run.take([message.value for message in batch])
        return []

    flow = Dataflow("benchmark")
    source = KafkaSource(
        [given.bootstrap],
        [given.topic],
        tail=False,
        batch_size=given.records_a_batch,
        add_config={
            "fetch.queue.backoff.ms": "5",
            "max.partition.fetch.bytes": str(FETCH_BYTES),
        },
    )
    worked = op.flat_map_batch("work", op.input("in", flow, source), whole)
    op.output("out", worked, TestingSink([]))
    cli_main(flow)
    run.report()


if __name__ == "__main__":
    main(task(__doc__))
