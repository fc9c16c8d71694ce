"""From the end of the first bad request to the receiver's HTTP request, beside Prometheus.

    python -m benchmarks.alert_latency [--incidents 60] [--rate 1000] [--window 10]

One embedded stack (windows of 10 s, lateness 2 s) takes ``rate`` requests a second of as many
versions as there are incidents; one after the other, at random times, every request of a version
fails. The rule has no dwell. A webhook notes when it is told. The same requests count up counters
which Prometheus scrapes and evaluates every 5 s, with an Alertmanager that does not wait, if both
are installed.

An incident waits for the end of its window and the lateness granted to others; what comes on top is
told by stage, from the times of the records on ``llm.signals`` and ``llm.notifications``. The last
line is one JSON object; the exit code is 1 if an incident was not told, or P99 is beyond window,
lateness and 2 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from aiokafka import AIOKafkaConsumer

from schemas.codec import encode_batch
from schemas.event import new_event_id
from schemas.topics import Topics
from tests.acceptance.running import producer, running_stack
from tests.chaos_alerts.alertmanager import Hook, alertmanager_binary, running
from tests.support.broker import free_port
from tests.support.events import event

LATENESS_S = 2.0
PER_S = 20
"""Records a second: an emitter gathers for 50 ms."""

RULES = """
version: 1
rules:
  - name: errors
    signal: error_rate
    over: 10s
    by: [model_version]
    condition: "> 1%"
    min_samples: 1
    severity: error
    summary: "{model_version}: {value:.1%} of requests fail"
    runbook: docs/alerting.md#runbook-errors
"""


class Counters:
    """What an exporter would show: requests and failures by version."""

    def __init__(self, versions: int) -> None:
        self.requests = [0] * versions
        self.failed = [0] * versions
        counters = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = counters.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def text(self) -> str:
        lines = ["# TYPE requests_total counter", "# TYPE failed_total counter"]
        for version, (requests, failed) in enumerate(zip(self.requests, self.failed, strict=True)):
            lines.append(f'requests_total{{model_version="v{version}"}} {requests}')
            lines.append(f'failed_total{{model_version="v{version}"}} {failed}')
        return "\n".join(lines) + "\n"


async def traffic(
    bootstrap: str, rate: int, bad_at: dict[int, float], seconds: float, counters: Counters
) -> dict[int, float]:
    """Send requests, and return when each version's first bad one ended."""
    rng = random.Random(1)
    first: dict[int, float] = {}
    versions = len(counters.requests)
    start = time.time()
    async with producer(bootstrap) as sender:
        tick = 0
        while (now := time.time()) < start + seconds:
            events = []
            for _ in range(rate // PER_S):
                version = rng.randrange(versions)
                end = time.time()
                failed = version in bad_at and now - start >= bad_at[version]
                counters.requests[version] += 1
                if failed:
                    counters.failed[version] += 1
                    first.setdefault(version, end)
                events.append(
                    event(
                        event_id=new_event_id(),
                        request_id=f"r-{tick}-{len(events)}",
                        model_version=f"v{version}",
                        start_time_us=int((end - 0.5) * 1e6),
                        end_time_us=int(end * 1e6),
                        status_code=500 if failed else 200,
                        error_type="internal" if failed else None,
                    )
                )
            await sender.send(Topics.REQUESTS.name, encode_batch(events))
            tick += 1
            await asyncio.sleep(max(0.0, start + tick / PER_S - time.time()))
    return first


@contextmanager
def prometheus(counters: Counters, hook: Hook) -> Iterator[None]:
    """Run Prometheus and Alertmanager on the counters."""
    config = {
        "route": {
            "receiver": "hook",
            "group_by": ["..."],
            "group_wait": "0s",
            "group_interval": "5m",
        },
        "receivers": [{"name": "hook", "webhook_configs": [{"url": hook.url}]}],
    }
    with running(config) as alertmanager, tempfile.TemporaryDirectory() as folder:
        rules = {
            "groups": [
                {
                    "name": "g",
                    "rules": [
                        {
                            "alert": "errors",
                            "expr": "rate(failed_total[15s]) / rate(requests_total[15s]) > 0.01",
                        }
                    ],
                }
            ]
        }
        (Path(folder) / "rules.yml").write_text(yaml.safe_dump(rules))
        target = alertmanager.url.removeprefix("http://")
        (Path(folder) / "config.yml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
                    "rule_files": [f"{folder}/rules.yml"],
                    "scrape_configs": [
                        {"job_name": "x", "static_configs": [{"targets": [counters.address]}]}
                    ],
                    "alerting": {"alertmanagers": [{"static_configs": [{"targets": [target]}]}]},
                }
            )
        )
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/config.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{free_port()}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


def told(hook: Hook, version_of: Callable[[dict[str, Any]], Iterator[str]]) -> dict[int, float]:
    """Return when each version was first told of."""
    found: dict[int, float] = {}
    for at, body in hook.taken:
        for name in version_of(body):
            found.setdefault(int(name.removeprefix("v")), at)
    return found


async def stages(bootstrap: str, at: dict[int, float], lateness_s: float) -> dict[str, Any]:
    """Return what the time beyond a window's end and the lateness is spent on, by stage."""
    evaluated: dict[int, float] = {}
    decided: dict[int, tuple[int, float]] = {}
    topics = (Topics.SIGNALS.name, Topics.NOTIFICATIONS.name)
    reader = AIOKafkaConsumer(
        *topics, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None
    )
    await reader.start()
    try:
        while batches := await reader.getmany(timeout_ms=2_000):
            for record in (one for records in batches.values() for one in records):
                message = json.loads(record.value or b"")
                if record.topic == topics[1]:
                    version = int(message["labels"]["model_version"].removeprefix("v"))
                    decided.setdefault(version, (message["at_us"], record.timestamp / 1e3))
                elif message["signal"] == "watermark_lag":
                    evaluated.setdefault(message["window_end_us"], record.timestamp / 1e3)
    finally:
        await reader.stop()
    known = [(version, *decided[version]) for version in at if version in decided]
    return {
        "windows_and_signals_s": _spread(
            evaluated[end] - end / 1e6 - lateness_s for _, end, _ in known
        ),
        "alert_s": _spread(said - evaluated[end] for _, end, said in known),
        "dispatch_and_delivery_s": _spread(at[version] - said for version, _, said in known),
    }


def _spread(seconds: Iterable[float]) -> dict[str, float]:
    values = np.array(list(seconds))
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def summary(first: dict[int, float], at: dict[int, float]) -> dict[str, Any]:
    """Return the latencies of the incidents that were told, and how many were not."""
    latencies = np.array([at[version] - first[version] for version in first if version in at])
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99])
    return {
        "incidents": len(first),
        "not_told": len(first) - len(latencies),
        "p50_s": round(float(p50), 2),
        "p95_s": round(float(p95), 2),
        "p99_s": round(float(p99), 2),
        "max_s": round(float(latencies.max()), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--incidents", type=int, default=60)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--window", type=float, default=10, help="seconds, 10 at most")
    asked = parser.parse_args()
    rng = random.Random(2)
    lead_s = min(25.0, asked.seconds / 4)
    bad_at = {n: rng.uniform(lead_s, asked.seconds - lead_s) for n in range(asked.incidents)}
    counters = Counters(asked.incidents)
    bound_s = asked.window + LATENESS_S + 2
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        (folder / "rules.yaml").write_text(RULES)
        ours, theirs = exits.enter_context(Hook()), exits.enter_context(Hook())
        stack = exits.enter_context(
            running_stack(
                folder / "data",
                TOCSIN_STREAMS__TIME_SCALE="1",
                TOCSIN_STREAMS__WINDOW_S=str(asked.window),
                TOCSIN_STREAMS__LATENESS_S=str(LATENESS_S),
                TOCSIN_ALERTING__RULES=str(folder / "rules.yaml"),
                TOCSIN_GROUPING__STORM_AFTER="0",
                TOCSIN_NOTIFY__WEBHOOK_URL=ours.url,
                TOCSIN_NOTIFY__WEBHOOK_SECRET="secret",  # noqa: S106
            )
        )
        beside = alertmanager_binary() is not None and shutil.which("prometheus") is not None
        if beside:
            exits.enter_context(prometheus(counters, theirs))
        else:
            print("SKIPPED: prometheus and prometheus-alertmanager are not installed")
        first = asyncio.run(traffic(stack.bootstrap, asked.rate, bad_at, asked.seconds, counters))
        time.sleep(5)
        at = told(ours, lambda body: iter([body["labels"]["model_version"]]))
        result = {
            "benchmark": "alert_latency",
            "rate_per_s": asked.rate,
            "window_s": asked.window,
            "lateness_s": LATENESS_S,
            "bound_s": bound_s,
            "tocsin": summary(first, at),
            "tocsin_beyond_window_and_lateness": asyncio.run(
                stages(stack.bootstrap, at, LATENESS_S)
            ),
        }
        if beside:

            def versions(body: dict[str, Any]) -> Iterator[str]:
                return (alert["labels"]["model_version"] for alert in body["alerts"])

            result["prometheus_alertmanager"] = summary(first, told(theirs, versions))
    result |= {"cpus": os.cpu_count(), "load_1m": round(os.getloadavg()[0], 2)}
    print(json.dumps(result))
    kept = result["tocsin"]
    return int(kept["not_told"] > 0 or kept["p99_s"] > bound_s)


if __name__ == "__main__":
    sys.exit(main())
