"""Tocsin: the worker as ``tocsin worker`` runs it, with watches at both ends.

It runs until SIGTERM. Then the line says when the first records were in hand, and when the broker
had acknowledged which partial windows: those go out after the rows that they hold are in the store.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from benchmarks.core.first import call_on_first_records
from benchmarks.core.meter import Meter, Moment, peak_rss_mb
from benchmarks.core.names import use_topics
from schemas.topics import Topics
from schemas.window import WindowBatch

Acknowledged = list[tuple[Moment, bytes]]


def watch_windows(topic: str) -> Acknowledged:
    """Return a list that fills with the partial windows that the broker has acknowledged."""
    acknowledged: Acknowledged = []
    send: Any = AIOKafkaProducer.send

    async def watched(self: Any, to: str, value: bytes | None = None, *args: Any, **kw: Any) -> Any:
        future = await send(self, to, value, *args, **kw)
        if to == topic and value:

            def done(sent: Any) -> None:
                if not sent.cancelled() and sent.exception() is None:
                    acknowledged.append((Moment.now(), value))

            future.add_done_callback(done)
        return future

    AIOKafkaProducer.send = watched
    return acknowledged


def line(meter: Meter, acknowledged: Acknowledged) -> str:
    """Return the result."""
    flushes = []
    for moment, value in acknowledged:
        batch = WindowBatch.model_validate_json(value)
        flushes.append(
            {**asdict(moment), "source": batch.source, "up_to_offset": batch.up_to_offset}
        )
    first = asdict(meter.first) if meter.first else None
    return json.dumps({"first": first, "flushes": flushes, "peak_rss_mb": peak_rss_mb()})


def main() -> None:
    """Run the worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", required=True, help="topic of the events")
    parser.add_argument("--run", required=True, help="prefix of the other topics")
    parser.add_argument("--gate", type=Path, help="wait for this file before taking events")
    given = parser.parse_args()
    use_topics(given.requests, given.run)
    meter = Meter()
    call_on_first_records(given.requests, meter.start, given.gate)
    acknowledged = watch_windows(Topics.WINDOWS.name)

    from tocsin.cli.processes import worker  # noqa: PLC0415 - after the topics have their names

    try:
        worker()
    finally:
        sys.stdout.write(f"\n{line(meter, acknowledged)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
