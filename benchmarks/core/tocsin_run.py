"""One run of Tocsin over a backlog: start workers, wait for the last event, check, reckon."""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.core.errors import InexactError
from benchmarks.core.measured import Measured
from benchmarks.core.meter import Moment
from benchmarks.core.names import own_topics, requests_topic
from benchmarks.core.preload import PARTITIONS, Backlog
from benchmarks.core.rig import (
    Broker,
    StoreRig,
    at_rest,
    running_store,
    wait_for_rows,
    wait_until,
    worker_child,
)
from benchmarks.core.work import add_partials, no_totals
from schemas.settings import KafkaSettings
from schemas.topic_admin import ensure_topics
from schemas.topics import Topics
from schemas.window import WindowBatch

__all__ = ["Flush", "ended_at", "last_line", "run_tocsin"]

_SCRIPT: Final = "benchmarks.core.contenders.tocsin"
_LOOK_S: Final = 1.0  # a look costs the store milliseconds, and decides only when to stop looking
_WINDOWS_S: Final = 60.0
_SHARE_S: Final = 60.0
_REST_S: Final = 60.0
_STOP_S: Final = 60.0
_ROWS: Final = """
    SELECT count(), countIf(failed), sum(input_tokens), sum(output_tokens),
           toInt64(sum(cost_usd) * 1000000000), uniqExact(event_id),
           (SELECT count() FROM dead_letters)
    FROM requests
"""


@dataclass(frozen=True, slots=True)
class Flush:
    """Partial windows that the broker acknowledged to a worker."""

    at: Moment
    source: str
    up_to_offset: int | None


def ended_at(flushes: Sequence[Flush], ends: Mapping[str, int]) -> float:
    """Return when the windows of every source held its last record, by the monotonic clock.

    Args:
        flushes: of all workers.
        ends: by source the end offset of its partition; those with 0 are empty.

    Raises:
        InexactError: they never did.
    """
    last = 0.0
    for source, end in ends.items():
        times = [
            flush.at.at_s
            for flush in flushes
            if flush.source == source and _reaches(flush.up_to_offset, end)
        ]
        if end and not times:
            raise InexactError(f"{source}: no windows up to offset {end - 1} were acknowledged")
        last = max(last, min(times, default=0.0))
    return last


def run_tocsin(broker: Broker, kind: str, backlog: Backlog, workers: int = 1) -> Measured:
    """Let workers read a backlog into a new store.

    They take no events before the partitions are shared out among them and they have come to rest:
    what a process does once in its life is measured for none of the contenders.

    Raises:
        InexactError: something is lost, doubled or wrong.
        PartFailedError, TimeoutError: a worker ended or took too long; with its log.
    """
    run = f"run-{uuid.uuid4().hex[:8]}"
    asyncio.run(ensure_topics(broker.kafka, own_topics(run)))
    with (
        running_store() as store,
        tempfile.TemporaryDirectory(prefix="tocsin-bench-") as scratch,
    ):
        path = Path(scratch)
        gate = path / "gate"
        script = [_SCRIPT, "--requests", requests_topic(kind), "--run", run]
        script += ["--gate", str(gate)]
        started = [
            worker_child(
                f"worker-{number}", path / str(number), broker, store, group=run, script=script
            )
            for number in range(workers)
        ]
        children = [worker.child for worker in started]
        try:
            for child in children:
                child.start()
            wait_until(lambda: _shared_out(path, workers), children, _SHARE_S, "partitions")
            wait_until(at_rest([c.pid for c in children]), children, _REST_S, "workers at rest")
            before = (store.cpu_s, broker.cpu_s)
            gate.touch()
            wait_for_rows(store, children, backlog.events, _LOOK_S)
            ends = {f"{requests_topic(kind)}-{p}": end for p, end in backlog.ends[kind].items()}
            totals = asyncio.run(_windows(broker.kafka, f"{run}.{Topics.WINDOWS.name}", ends))
            used = (store.cpu_s - before[0], broker.cpu_s - before[1])
        finally:
            for child in children:
                child.stop(_STOP_S)
        _check(store, backlog, totals)
        lines = [last_line(worker.output.read_text(errors="replace")) for worker in started]
    return _reckon(lines, ends, backlog.events, used)


def _shared_out(path: Path, workers: int) -> bool:
    """Tell whether every worker has some of the partitions, and all have all of them."""
    shares = [int(file.read_text() or 0) for file in path.glob("gate.*")]
    return len(shares) == workers and min(shares) > 0 and sum(shares) == PARTITIONS


async def _windows(kafka: KafkaSettings, topic: str, ends: Mapping[str, int]) -> dict[str, int]:
    """Read partial windows until they hold every record; return the sums over them."""
    totals = no_totals()
    left = {source: end for source, end in ends.items() if end}
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        async with asyncio.timeout(_WINDOWS_S):
            while left:
                fetched = await consumer.getmany(timeout_ms=200)
                for record in fetched.get(place, []):
                    batch = WindowBatch.model_validate_json(record.value)
                    add_partials(totals, batch.partials)
                    if _reaches(batch.up_to_offset, left.get(batch.source)):
                        del left[batch.source]
    except TimeoutError:
        raise InexactError(f"partial windows of {', '.join(left)} are missing") from None
    finally:
        await consumer.stop()
    return totals


def _reaches(offset: int | None, end: int | None) -> bool:
    return offset is not None and end is not None and offset >= end - 1


def _check(store: StoreRig, backlog: Backlog, windows: Mapping[str, int]) -> None:
    """Hold rows and windows to what was sent.

    Raises:
        InexactError: naming what differs.
    """
    names = (*backlog.totals, "ids", "dead_letters")
    found = dict(zip(names, store.rows(_ROWS)[0], strict=True))
    wanted = {**backlog.totals, "ids": backlog.events, "dead_letters": 0}
    if found != wanted:
        raise InexactError(f"rows: {found}, wanted {wanted}")
    if windows != backlog.totals:
        raise InexactError(f"windows: {dict(windows)}, wanted {backlog.totals}")


def last_line(text: str) -> dict[str, Any]:
    """Return the JSON object that a script printed at its end.

    Raises:
        InexactError: it printed none; with what it printed.
    """
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return dict(json.loads(line))
    raise InexactError(f"no result in {text[-1_000:]!r}")


def _reckon(
    lines: Sequence[Mapping[str, Any]],
    ends: Mapping[str, int],
    events: int,
    used: tuple[float, float],
) -> Measured:
    if not all(line["first"] for line in lines):
        raise InexactError("a worker took no records, or not by aiokafka: its start is unknown")
    firsts = [Moment(**line["first"]) for line in lines]
    flushes = [
        [
            Flush(Moment(flush["at_s"], flush["cpu_s"]), flush["source"], flush["up_to_offset"])
            for flush in line["flushes"]
        ]
        for line in lines
    ]
    end_s = ended_at([flush for of_one in flushes for flush in of_one], ends)
    cpu_s = 0.0
    for first, of_one in zip(firsts, flushes, strict=True):
        until = [flush.at.cpu_s for flush in of_one if flush.at.at_s <= end_s]
        cpu_s += max(until, default=first.cpu_s) - first.cpu_s
    return Measured(
        events,
        end_s - min(first.at_s for first in firsts),
        cpu_s,
        max(line["peak_rss_mb"] for line in lines),
        {"store_cpu_s": used[0], "broker_cpu_s": used[1]},
    )
