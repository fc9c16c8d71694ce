"""A running stack as the tests see it: its rows, its metrics, its log."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrate import store_client
from schemas.event import RequestEvent, new_event_id
from schemas.settings import load_settings
from tests.support.events import event
from tests.support.story import ROUTING_KEY
from tocsin.embedded.child import Child
from tocsin.embedded.stack import Stack, StackOptions
from tocsin.receiver import Receiver

__all__ = [
    "FAST",
    "SLACK_TOKEN",
    "Running",
    "eventually",
    "kill_worker",
    "metric",
    "new_events",
    "pagerduty_at",
    "producer",
    "rows_of",
    "running_stack",
    "slack_at",
    "start_worker",
]

SLACK_TOKEN = "xoxb-acceptance"

FAST = {"TOCSIN_STREAMS__TIME_SCALE": "10", "TOCSIN_NOTIFY__STDOUT": "false"}
"""Windows of one second, and rules that are as fast."""

WINDOW_US = 1_000_000


@dataclass
class Running:
    """A stack with a client of its store."""

    stack: Stack
    client: Client

    @property
    def bootstrap(self) -> str:
        return self.stack.settings.kafka.bootstrap

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return rows_of(self.client, query, **parameters)

    def value(self, query: str, **parameters: Any) -> Any:
        return self.rows(query, **parameters)[0][0]

    def metric(self, name: str, **labels: str) -> float:
        return sum(metric(url, name, **labels) for url in self.stack.metrics_urls)

    def log(self, name: str = "worker-0") -> str:
        return (self.stack.settings.data_dir / "logs" / f"{name}.log").read_text(errors="replace")


@contextmanager
def running_stack(
    path: Path,
    *,
    workers: int = 1,
    clickhouse_port: int = 0,
    api_port: int | None = None,
    **environment: str,
) -> Iterator[Running]:
    """Run a stack in a directory, in fast motion unless the environment says otherwise."""
    said: list[str] = []
    options = StackOptions(
        path,
        workers=workers,
        clickhouse_port=clickhouse_port,
        api_port=api_port,
        environment={**FAST, **environment},
    )
    with Stack(load_settings(), options, tell=said.append) as stack:
        print("\n".join(said))  # noqa: T201 - how long the worker took to be ready
        client = store_client(stack.settings.clickhouse, stack.settings.clickhouse.database)
        try:
            yield Running(stack, client)
        finally:
            client.close()


def rows_of(client: Client, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(query, parameters=parameters).result_rows]


def metric(url: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels; 0 when there are none."""
    total = 0.0
    for line in httpx.get(url, trust_env=False, timeout=10).text.splitlines():
        match = re.fullmatch(rf"{re.escape(name)}(?:{{(.*)}})? (\S+)", line)
        if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
            total += float(match[2])
    return total


async def eventually(
    look: Callable[[], object], timeout_s: float = 30, show: Callable[[], object] | None = None
) -> None:
    """Wait until ``look`` gives something true; the bound is that of a failure, which can show."""
    deadline = time.monotonic() + timeout_s
    while not look():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s{f': {show()}' if show else ''}")
        await asyncio.sleep(0.1)


@asynccontextmanager
async def producer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    sender = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=32_000_000)
    await sender.start()
    try:
        yield sender
    finally:
        await sender.stop()


def new_events(count: int, rng: random.Random, **fields: Any) -> Sequence[RequestEvent]:
    """Return requests that end now, of two versions, some of them failed."""
    now_us = time.time_ns() // 1_000
    events = []
    for _ in range(count):
        seconds = rng.lognormvariate(0, 0.5)
        failed = rng.random() < 0.02
        values: dict[str, Any] = {
            "event_id": new_event_id(),
            "request_id": f"request-{rng.getrandbits(60):x}",
            "start_time_us": now_us - int(seconds * 1e6),
            "end_time_us": now_us,
            "e2e_s": seconds,
            "ttft_s": seconds / 4,
            "model_version": rng.choice(["v1", "v2"]),
            "status_code": 500 if failed else 200,
            "error_type": "internal" if failed else None,
            "user_id": f"user-{rng.randrange(50)}",
        }
        events.append(event(**{**values, **fields}))
    return events


def kill_worker(stack: Stack, number: int = 0) -> None:
    """End a worker as a crash would: kill -9."""
    stack.workers[number].kill()


async def start_worker(stack: Stack, number: int = 0, timeout_s: float = 60) -> float:
    """Start a worker again; return the seconds until it was ready."""
    worker: Child = stack.workers[number]
    url = stack.metrics_urls[number]
    started = time.monotonic()
    worker.start()

    def ready() -> bool:
        worker.check()
        try:
            return metric(url, "tocsin_worker_ready") == 1
        except httpx.TransportError:
            return False

    await eventually(ready, timeout_s)
    return time.monotonic() - started


def slack_at(receiver: Receiver) -> dict[str, str]:
    """Return the settings by which a stack tells Slack's stand-in."""
    return {
        "TOCSIN_NOTIFY__SLACK_BASE_URL": receiver.slack_base_url,
        "TOCSIN_NOTIFY__SLACK_TOKEN": SLACK_TOKEN,
        "TOCSIN_NOTIFY__SLACK_CHANNEL": "#llm-alerts",
    }


def pagerduty_at(receiver: Receiver) -> dict[str, str]:
    """Return the settings by which a stack tells PagerDuty's stand-in."""
    return {
        "TOCSIN_NOTIFY__PAGERDUTY_BASE_URL": receiver.pagerduty_base_url,
        "TOCSIN_NOTIFY__PAGERDUTY_ROUTING_KEY": ROUTING_KEY,
    }
