"""A worker killed in an incident goes on with what was usual before it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from alerting.rules import load_rules
from detectors.rolling import Rolling
from schemas.codec import encode_batch
from schemas.signal import SignalName
from schemas.topics import Topics
from streams.past import Past
from streams.store import Store
from tests.acceptance.running import (
    FAST,
    WINDOW_US,
    Running,
    eventually,
    kill_worker,
    new_events,
    producer,
    running_stack,
)
from tests.support.broker import free_port
from tocsin.embedded.store.process import StoreProcess

pytestmark = pytest.mark.acceptance

RULES = """
version: 1
rules:
  - name: slower-than-usual
    kind: baseline
    signal: e2e_p95
    over: 20s
    by: [model_version]
    condition: "> 2x"
    for: 1m
    keep_firing_for: 20s
    min_samples: 20
    severity: error
    summary: "{model_version}: P95 is {value:.1f} times its baseline"
    runbook: docs/alerting.md#runbook-latency
  - name: lengths
    kind: anomaly
    detector: psi
    signal: input_tokens
    over: 1m
    by: [model_version]
    condition: "> 0.2"
    min_samples: 50
    severity: warning
    summary: "{model_version}: prompts have changed"
    runbook: docs/alerting.md#runbook-drift
"""
RATIOS = """
    SELECT toUnixTimestamp64Micro(window_end) AS at, labels['model_version'], value, baseline,
           samples, detail
    FROM signals FINAL
    WHERE signal = 'e2e_p95_ratio'
    ORDER BY at
"""
DRIFTED = """
    SELECT detail['reference_samples']
    FROM signals FINAL
    WHERE signal = 'input_tokens_psi' AND window_end > fromUnixTimestamp64Micro({at:Int64}, 'UTC')
    ORDER BY window_end
    LIMIT 1
"""
NEWEST = "SELECT toUnixTimestamp64Micro(max(window_end)) FROM signals"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, rules: Path) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("restart")
    fast = {"TOCSIN_ALERTING__RULES": str(rules), "TOCSIN_DRIFT__REFERENCE_REQUESTS": "100"}
    with running_stack(path, clickhouse_port=free_port(), **fast) as stack:
        yield stack


@asynccontextmanager
async def load(running: Running, slow: dict[str, float]) -> Any:
    """Send requests of two versions for as long as the block runs; ``slow`` is read each time."""
    rng = random.Random(3)
    stop = asyncio.Event()

    async def send() -> None:
        async with producer(running.bootstrap) as sender:
            while not stop.is_set():
                events = [
                    event
                    for version in ("v1", "v2")
                    for event in new_events(
                        20, rng, model_version=version, e2e_s=rng.uniform(0.4, 0.6) * slow[version]
                    )
                ]
                await sender.send_and_wait(Topics.REQUESTS.name, encode_batch(events))
                await asyncio.sleep(0.1)

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        stop.set()
        await task


async def test_a_regression_is_heard_though_the_worker_died_in_it(
    running: Running, rules: Path
) -> None:
    slow = {"v1": 1.0, "v2": 1.0}
    known = "SELECT count() FROM signals WHERE signal = 'e2e_p95_ratio' AND isNotNull(value)"
    fired = "SELECT count() FROM alerts FINAL WHERE rule = 'slower-than-usual' AND {phase}"
    async with load(running, slow):
        await eventually(lambda: running.value(known) >= 8, 60)
        slow["v2"] = 5.0
        pending = fired.replace("{phase}", "to_phase = 'pending'")
        await eventually(lambda: running.value(pending) >= 1, 30)
        kill_worker(running.stack)
        died_us = running.value(NEWEST)
        store = running.stack._store
        assert isinstance(store, StoreProcess)
        store.kill()  # and what it would build its figures from is away
        running.stack.workers[0].start()
        await asyncio.sleep(4)
        store.start()
        await start_waiting(running)
        await eventually(
            lambda: running.value(fired.replace("{phase}", "to_phase = 'firing'")) >= 1, 60
        )
        await eventually(lambda: running.value(NEWEST) > died_us + 10 * WINDOW_US, 30)
    assert running.metric("tocsin_figures_resumed") == 1
    assert running.metric("tocsin_detector_failures_total") == 0
    # A reference gathered anew would be that of the traffic since.
    assert running.value(DRIFTED, at=died_us) >= 100

    recorded = {(row[0], row[1]): row[2:] for row in running.rows(RATIOS)}
    after = {key for key in recorded if key[0] > died_us}
    assert all(recorded[key][1] is not None for key in after)  # the baseline was there at once
    alone = await uninterrupted(running, rules)
    corrected = running.metric("tocsin_windows_closed_total", correction="yes")
    same = [key for key in after if alone[key] == recorded[key]]
    assert len(same) >= len(after) - 4 * corrected
    assert same


async def start_waiting(running: Running) -> None:
    url = running.stack.metrics_urls[0]

    def ready() -> bool:
        running.stack.workers[0].check()
        try:
            return running.metric("tocsin_figures_resumed") == 1
        except Exception:  # noqa: BLE001 - it is not there yet
            return False

    assert url
    await eventually(ready, 60)


async def uninterrupted(running: Running, rules: Path) -> dict[Any, tuple[Any, ...]]:
    """Return what one worker would have said of all the windows in the store."""
    scale = float(FAST["TOCSIN_STREAMS__TIME_SCALE"])
    queries = load_rules(rules).scaled(scale).queries()
    rolling = Rolling(queries, WINDOW_US)
    store = Store(running.stack.settings.clickhouse)
    past = Past(store, running.stack.settings.streams.dimensions)
    ends = [at for (at,) in running.rows(
        "SELECT DISTINCT toUnixTimestamp64Micro(window_end) AS at FROM signals"
        " WHERE signal = 'watermark_lag' AND detector = 'watermark' ORDER BY at"
    )]  # fmt: skip
    said: dict[Any, tuple[Any, ...]] = {}
    told = {windows[0].end_us: windows async for windows in past.windows(0 + ends[0] - WINDOW_US,
            sketches=("e2e_s",))}  # fmt: skip
    store.close()
    for end_us in ends:
        for at_us in [at_us for at_us in told if at_us <= end_us]:
            for window in told.pop(at_us):
                rolling.add(window)
        for signal in rolling.evaluate(end_us):
            if signal.signal is SignalName.E2E_P95_RATIO:
                said[end_us, signal.labels["model_version"]] = (
                    signal.value, signal.baseline, signal.samples, signal.detail,
                )  # fmt: skip
    return said
