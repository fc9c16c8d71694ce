"""From the end of the first bad request to the receiver's HTTP request, beside Prometheus.

    PYTHONPATH=. python benchmarks/alert_latency.py [--incidents 60] [--rate 1000] [--window 10]

One embedded stack (windows of 10 s, lateness 2 s) takes ``rate`` requests a second of as many
versions as there are incidents; one after the other, at random times, every request of a version
fails. The rule has no dwell. A webhook notes when it is told. The same requests count up counters
which Prometheus scrapes and evaluates every 5 s, with an Alertmanager that does not wait, if both
are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from schemas.codec import encode_batch
from schemas.event import new_event_id
from schemas.topics import Topics
from tests.acceptance.running import producer, running_stack
from tests.chaos_alerts.alertmanager import Hook, alertmanager_binary, running
from tests.support.broker import free_port
from tests.support.events import event

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
            for _ in range(rate // 10):
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
            await asyncio.sleep(max(0.0, start + tick / 10 - time.time()))
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


def tell(name: str, first: dict[int, float], at: dict[int, float]) -> None:
    latencies = np.array([at[version] - first[version] for version in first if version in at])
    missing = len(first) - len(latencies)
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99])
    print(
        f"{name}: {len(latencies)} incidents, {missing} not told; "
        f"P50 {p50:.2f} s, P95 {p95:.2f} s, P99 {p99:.2f} s, max {latencies.max():.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--incidents", type=int, default=60)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--window", type=float, default=10, help="seconds, 10 at most")
    asked = parser.parse_args()
    rng = random.Random(2)
    bad_at = {n: rng.uniform(25, asked.seconds - 25) for n in range(asked.incidents)}
    counters = Counters(asked.incidents)
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        (folder / "rules.yaml").write_text(RULES)
        ours, theirs = exits.enter_context(Hook()), exits.enter_context(Hook())
        stack = exits.enter_context(
            running_stack(
                folder / "data",
                TOCSIN_STREAMS__TIME_SCALE="1",
                TOCSIN_STREAMS__WINDOW_S=str(asked.window),
                TOCSIN_ALERTING__RULES=str(folder / "rules.yaml"),
                TOCSIN_GROUPING__STORM_AFTER="0",
                TOCSIN_NOTIFY__WEBHOOK_URL=ours.url,
                TOCSIN_NOTIFY__WEBHOOK_SECRET="secret",  # noqa: S106
            )
        )
        beside = alertmanager_binary() is not None and shutil.which("prometheus") is not None
        if beside:
            exits.enter_context(prometheus(counters, theirs))
        first = asyncio.run(traffic(stack.bootstrap, asked.rate, bad_at, asked.seconds, counters))
        time.sleep(5)
        tell("tocsin", first, told(ours, lambda body: iter([body["labels"]["model_version"]])))
        if beside:

            def versions(body: dict[str, Any]) -> Iterator[str]:
                return (alert["labels"]["model_version"] for alert in body["alerts"])

            tell("prometheus + alertmanager", first, told(theirs, versions))


if __name__ == "__main__":
    main()
