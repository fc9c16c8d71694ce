"""A worker's memory at full load over minutes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.core.environments import variables
from benchmarks.core.errors import InexactError
from benchmarks.core.latency import memory
from benchmarks.core.rig import (
    KAFKA,
    running_broker,
    running_store,
    wait_for_rows,
    wait_until,
    worker_child,
)
from benchmarks.core.tocsin_run import last_line
from benchmarks.core.watch import MemoryWatch, Sampler
from schemas.topic_admin import ensure_topics
from schemas.topics import TOPICS, Topics

__all__ = ["measure_soak"]

_EVERY_S: Final = 1.0
_READY_S: Final = 120.0
_AFTER_S: Final = 120.0
_POINTS: Final = 60
_BROKER_MB: Final = 10_000.0  # the embedded broker keeps its whole log in memory
_KEPT_MS: Final = 60_000


def measure_soak(broker_kind: str, seconds: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return a worker's memory under a load that never lets it wait, for JSON.

    Raises:
        InexactError: rows are missing or too many, or the load failed.
        PartFailedError, TimeoutError: a part ended or was not ready.
    """
    group = f"run-{uuid.uuid4().hex[:8]}"
    with ExitStack() as exit_:
        path = Path(exit_.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-bench-")))
        broker = exit_.enter_context(running_broker(broker_kind))
        store = exit_.enter_context(running_store())
        short = replace(Topics.REQUESTS, retention_ms=_KEPT_MS)
        rest = tuple(topic for topic in TOPICS if topic is not Topics.REQUESTS)
        asyncio.run(ensure_topics(broker.kafka, (short, *rest)))
        worker = worker_child("worker", path, broker, store, group=group)
        worker.child.start()
        exit_.callback(worker.child.stop, _AFTER_S)
        wait_until(worker.ready, [worker.child], _READY_S, "worker ready")
        pid = worker.child.pid
        assert pid is not None
        tell(f"soak: full load for {seconds:g} s")
        memories = MemoryWatch(pid)
        limit_mb = 1e9 if broker_kind == KAFKA else _BROKER_MB
        with Sampler(memories.look, _EVERY_S):
            load = _load(broker.kafka.bootstrap, group, seconds, broker.pid, limit_mb)
        wait_for_rows(store, [worker.child], load["events"], _EVERY_S)
        rows = store.value("SELECT count() FROM requests")
    if rows != load["events"]:
        raise InexactError(f"{rows} rows of {load['events']} events")
    points = memories.points
    step = max(1, len(points) // _POINTS)
    return {
        **load,
        "events_per_s": load["events"] / load["seconds"],
        "worker_rss_mb": memory(points),
        "worker_rss_series": [[round(s, 1), round(mb, 1)] for s, mb in points[::step]],
    }


def _load(
    bootstrap: str, group: str, seconds: float, broker_pid: int, broker_mb: float
) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.core.soak_load", "--bootstrap", bootstrap]
    command += ["--group", group, "--seconds", str(seconds)]
    command += ["--broker-pid", str(broker_pid), "--broker-mb", str(broker_mb)]
    done = subprocess.run(
        command,
        env=variables(),
        capture_output=True,
        text=True,
        timeout=seconds + _AFTER_S,
        check=False,
    )
    if done.returncode:
        raise InexactError(f"the load failed: {done.stderr[-500:]}")
    return last_line(done.stdout)
