"""How long after a request's end a query finds its row, and the closed window that counts it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.core.environments import variables
from benchmarks.core.errors import InexactError
from benchmarks.core.measured import percentile, slope
from benchmarks.core.meter import cpu_seconds
from benchmarks.core.rig import (
    running_broker,
    running_store,
    wait_for_rows,
    wait_until,
    worker_child,
)
from benchmarks.core.tocsin_run import last_line
from benchmarks.core.visibility import row_latencies, window_latencies
from benchmarks.core.watch import MemoryWatch, Sampler, StoreWatch
from schemas.settings import StreamSettings
from schemas.topic_admin import ensure_topics

__all__ = ["measure_latency", "memory"]

WARM_UP_S: Final = 5.0
"""The first seconds of a worker's life are not counted: it compiles, connects, learns."""

_ROWS_EVERY_S: Final = 0.05
_WINDOWS_EVERY_S: Final = 0.1
_MEMORY_EVERY_S: Final = 0.5
_READY_S: Final = 120.0
_AFTER_S: Final = 60.0
_BEHIND_S: Final = 300.0
_ENDS: Final = "SELECT toUnixTimestamp64Micro(end_time) FROM requests ORDER BY ingested_at"


def measure_latency(
    broker_kind: str, rate: float, seconds: float, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Return latencies at a rate, in seconds, and the worker's memory, all for JSON.

    Raises:
        InexactError: events are missing, doubled, or in no window; or the sender failed.
        PartFailedError, TimeoutError: a part ended or was not ready.
    """
    streams = StreamSettings()
    with ExitStack() as exit_:
        path = Path(exit_.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-bench-")))
        broker = exit_.enter_context(running_broker(broker_kind))
        store = exit_.enter_context(running_store())
        asyncio.run(ensure_topics(broker.kafka))
        worker = worker_child("worker", path, broker, store, group=f"run-{uuid.uuid4().hex[:8]}")
        worker.child.start()
        exit_.callback(worker.child.stop, _AFTER_S)
        wait_until(worker.ready, [worker.child], _READY_S, "worker ready")
        pid = worker.child.pid
        assert pid is not None
        rows, windows, memories = StoreWatch(store), StoreWatch(store), MemoryWatch(pid)
        exit_.callback(rows.close)
        exit_.callback(windows.close)
        tell(f"latency: {rate:,.0f} events/s for {seconds:g} s, after {WARM_UP_S:g} s of warm-up")
        with (
            Sampler(rows.look_at_rows, _ROWS_EVERY_S),
            Sampler(windows.look_at_windows, _WINDOWS_EVERY_S),
            Sampler(memories.look, _MEMORY_EVERY_S),
        ):
            cpu_s = cpu_seconds(pid)
            sent = _send(broker.kafka.bootstrap, rate, seconds + WARM_UP_S)
            cpu_s = cpu_seconds(pid) - cpu_s
            wait_for_rows(store, [worker.child], sent["sent"], _ROWS_EVERY_S)
            ends_us = [int(row[0]) for row in store.rows(_ENDS)]
            if len(ends_us) != sent["sent"]:
                raise InexactError(f"{len(ends_us)} rows of {sent['sent']} events sent")
            from_us = sent["start_us"] + round(WARM_UP_S * 1e6)
            until_us = sent["end_us"] - streams.lateness_us
            size_us = streams.window_us
            in_windows = [end_us for end_us in ends_us if end_us // size_us * size_us >= from_us]
            of_windows = _once_whole(in_windows, size_us, windows, until_us)
    row_s = row_latencies(ends_us, rows.rows)
    of_rows = [s for s, end_us in zip(row_s, ends_us, strict=True) if end_us >= from_us]
    starts_us = {end_us // size_us * size_us for end_us in in_windows}
    return {
        "events_per_s": rate,
        "events": len(of_rows),
        "row_visible_s": _percentiles(of_rows),
        "window_visible_s": _percentiles(of_windows),
        "windows": sum(start_us + size_us <= until_us for start_us in starts_us),
        "sender_late_p99_s": sent["late_p99_s"],
        "sender_dropped": sent["dropped"],
        "worker_cpus": cpu_s / ((sent["end_us"] - sent["start_us"]) / 1e6),
        "worker_rss_mb": memory(memories.points),
    }


def _once_whole(
    ends_us: list[int], size_us: int, windows: StoreWatch, until_us: int
) -> list[float]:
    """Return the windows' latencies as soon as all of them were seen whole."""
    deadline = time.monotonic() + _AFTER_S
    while True:
        try:
            return window_latencies(ends_us, size_us, windows.windows, until_us)
        except InexactError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_MEMORY_EVERY_S)


def _send(bootstrap: str, rate: float, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.core.paced", "--bootstrap", bootstrap]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    done = subprocess.run(
        command,
        env=variables(),
        capture_output=True,
        text=True,
        timeout=seconds * 4 + _BEHIND_S,
        check=False,
    )
    if done.returncode:
        raise InexactError(f"the sender failed: {done.stderr[-500:]}")
    return last_line(done.stdout)


def memory(points: list[tuple[float, float]], *, skip: float = 0.2) -> dict[str, float]:
    """Return first, last and most memory in MB, and its slope in MB a minute.

    Args:
        points: (seconds, MB).
        skip: the first share of the time, in which buffers fill, is left out of the slope.
    """
    from_s = points[0][0] + (points[-1][0] - points[0][0]) * skip
    settled = [point for point in points if point[0] >= from_s]
    sizes = [size for _, size in points]
    return {
        "first": sizes[0],
        "last": sizes[-1],
        "max": max(sizes),
        "slope_mb_per_min": slope(settled) * 60,
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    if not values:
        raise InexactError("no event was counted: the time is too short for a window")
    return {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}
