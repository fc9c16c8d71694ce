"""Broker, store and workers as processes that can be killed, stalled and started again, each alone.

The workers are those of every installation: they are told addresses, no more.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import httpx
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrate import migrate, store_client
from schemas.settings import ClickHouseSettings, KafkaSettings
from schemas.topic_admin import ensure_topics
from tests.acceptance.running import rows_of
from tests.support.broker import free_port
from tests.support.kafka import kafka_libs, running_kafka
from tocsin.embedded.broker import broker_answers, broker_child
from tocsin.embedded.child import Child
from tocsin.embedded.ports import LOOPBACK

__all__ = ["Broker", "BrokerKind", "Rig", "RigOptions", "running_rig"]

BrokerKind = Literal["embedded", "kafka"]

_SESSION_S: Final[Mapping[BrokerKind, float]] = {"embedded": 2.0, "kafka": 6.0}
_WINDOW_S: Final = 10.0
_SAMPLE: Final = re.compile(r"^(tocsin_\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RigOptions:
    """How a rig differs from the usual one.

    Attributes:
        time_scale: divides windows, lateness and the time in which windows can be corrected.
        store_path: the store's directory, when it is not one of the run's.
        store_port: the store's port; 0 takes a free one.
        store_seen_at: where the workers believe it to be, such as a proxy's port; 0 is its own.
        environment: further variables of the workers.
    """

    broker: BrokerKind = "embedded"
    workers: int = 2
    partitions: int = 4
    time_scale: float = 2.0
    store_path: Path | None = None
    store_port: int = 0
    store_seen_at: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker's address and its process."""

    kind: BrokerKind
    bootstrap: str
    process: Child

    def pause(self) -> None:
        """Stop it without ending it: connections stand, nothing answers."""
        _signal(self.process, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        _signal(self.process, signal.SIGCONT)

    def wait(self, timeout_s: float = 60) -> float:
        """Wait until it answers; return the seconds."""
        host, port = self.bootstrap.split(":")
        return self.process.wait_until(lambda: broker_answers(host, int(port)), timeout_s)


class Rig:
    """The processes of one run, their metrics, and a client of the store."""

    def __init__(self, path: Path, broker: Broker, options: RigOptions) -> None:
        self.path = path
        self.options = options
        self.broker = broker
        self.session_s = _SESSION_S[options.broker]
        self.window_us = round(_WINDOW_S / options.time_scale * 1e6)
        self.store_settings = ClickHouseSettings(
            host=LOOPBACK, port=options.store_port or free_port()
        )
        self.store = self._store_child()
        self.workers: list[Child] = []
        self.unexpected_ends: list[str] = []
        self._urls: list[str] = []
        self._seen: list[dict[tuple[str, str], float]] = []
        self._before: Counter[tuple[str, str]] = Counter()
        self._client: Client | None = None
        for _ in range(options.workers):
            self.add_worker()

    @property
    def client(self) -> Client:
        """Return a client of the store, not of what the workers believe it to be."""
        if self._client is None:
            self._client = store_client(self.store_settings, self.store_settings.database)
        return self._client

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return rows_of(self.client, query, **parameters)

    def value(self, query: str, **parameters: Any) -> Any:
        return self.rows(query, **parameters)[0][0]

    def start(self) -> None:
        """Start the store, make schema and topics as an operator does, start the workers."""
        self.start_store()
        self.wait_for_store()
        migrate(self.store_settings)
        partitions = self.options.partitions
        kafka = KafkaSettings(bootstrap=self.broker.bootstrap, partitions=partitions)
        asyncio.run(ensure_topics(kafka))
        for number in range(len(self.workers)):
            self.start_worker(number)
        self.wait_for_workers()

    def stop(self) -> None:
        """End everything that runs, stalled or not: nothing of it is kept."""
        for worker in self.workers:
            worker.kill()
        if self._client is not None:
            self._client.close()
        self.store.kill()

    def start_store(self) -> None:
        """Start the store; ``wait_for_store`` tells when it answers."""
        self.store.start()

    def wait_for_store(self, timeout_s: float = 60) -> float:
        """Wait until the store answers; return the seconds."""
        return self.store.wait_until(self.store_answers, timeout_s)

    def store_answers(self) -> bool:
        """Tell whether the store answers."""
        url = f"http://{LOOPBACK}:{self.store_settings.port}/ping"
        try:
            return httpx.get(url, timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def kill_store(self) -> None:
        """End the store as a crash would."""
        self.store.kill()

    def freeze_store(self) -> None:
        """Stop the store without ending it: connections stand, nothing answers."""
        _signal(self.store, signal.SIGSTOP)

    def thaw_store(self) -> None:
        """Let a frozen store go on, with what it had been told."""
        _signal(self.store, signal.SIGCONT)

    def add_worker(self) -> int:
        """Add one more worker, not started yet; return its number."""
        number = len(self.workers)
        port = free_port()
        environment = {
            "TOCSIN_STREAMS__TIME_SCALE": str(self.options.time_scale),
            "TOCSIN_NOTIFY__STDOUT": "false",
            "TOCSIN_DATA_DIR": str(self.path / f"data-{number}"),
            "TOCSIN_FLAGS__PATH": str(self.path / "flags.json"),
            "TOCSIN_KAFKA__BOOTSTRAP": self.broker.bootstrap,
            "TOCSIN_KAFKA__SESSION_TIMEOUT_S": str(self.session_s),
            "TOCSIN_KAFKA__HEARTBEAT_INTERVAL_S": str(self.session_s / 4),
            "TOCSIN_KAFKA__FETCH_WAIT_S": "0.1",
            "TOCSIN_CLICKHOUSE__HOST": LOOPBACK,
            "TOCSIN_CLICKHOUSE__PORT": str(self.options.store_seen_at or self.store_settings.port),
            "TOCSIN_STREAMS__METRICS_PORT": str(port),
            **self.options.environment,
        }
        command = [sys.executable, "-m", "tocsin", "worker"]
        log = self.path / f"worker-{number}.log"
        self.workers.append(Child(f"worker {number}", command, log, environment))
        self._urls.append(f"http://{LOOPBACK}:{port}/metrics")
        self._seen.append({})
        return number

    def start_worker(self, number: int) -> None:
        """Start a worker; ``wait_for_workers`` tells when it is ready."""
        self._remember(number)
        self.workers[number].start()

    def kill_worker(self, number: int) -> None:
        """End a worker as a crash would."""
        self.workers[number].kill()

    def stall_worker(self, number: int) -> None:
        """Stop a worker without ending it: a zombie, once the broker gives it up."""
        _signal(self.workers[number], signal.SIGSTOP)

    def resume_worker(self, number: int) -> None:
        """Let a stalled worker go on."""
        _signal(self.workers[number], signal.SIGCONT)

    def wait_for_workers(self, timeout_s: float = 90) -> None:
        """Wait until every running worker is ready.

        Raises:
            PartFailedError: one ended, or was not ready in time.
        """
        for number, worker in enumerate(self.workers):
            if worker.pid is not None or worker.poll() is not None:
                worker.wait_until(lambda n=number: self.ready(n), timeout_s)  # type: ignore[misc]

    def ready(self, number: int) -> bool:
        """Tell whether a worker has recovered its tables and reads its partitions."""
        return self.scrape(number).get(("tocsin_worker_ready", ""), 0) == 1

    def supervise(self) -> None:
        """Start workers again that ended by themselves, and note it.

        Raises:
            PartFailedError: broker or store ended by themselves.
        """
        self.broker.process.check()
        self.store.check()
        for number, worker in enumerate(self.workers):
            code = worker.poll()
            if code is not None:
                self.unexpected_ends.append(f"worker {number} ended with code {code}")
                self.start_worker(number)

    def scrape(self, number: int) -> dict[tuple[str, str], float]:
        """Return a worker's metrics by name and labels; those of the last look if it is mute."""
        try:
            text = httpx.get(self._urls[number], timeout=1, trust_env=False).text
        except httpx.TransportError:
            return {} if self.workers[number].pid is None else self._seen[number]
        found = {(name, labels): float(value) for name, labels, value in _SAMPLE.findall(text)}
        self._seen[number] = found
        return found

    def metric(self, name: str, label: str = "") -> float:
        """Return a counter over all workers and their lives, as far as they were looked at."""
        seen = sum((Counter(found) for found in self._seen), Counter(self._before))
        return sum(v for (n, labels), v in seen.items() if n == name and label in labels)

    def memory_kib(self, number: int) -> int:
        """Return a worker's resident memory."""
        status = Path(f"/proc/{self.workers[number].pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]

    def _remember(self, number: int) -> None:
        self._before.update({k: v for k, v in self._seen[number].items() if "_total" in k[0]})
        self._seen[number] = {}

    def _store_child(self) -> Child:
        directory = self.options.store_path or self.path / "store"
        command = [sys.executable, "-m", "tocsin.embedded.store", "--path", str(directory)]
        command += ["--host", LOOPBACK, "--port", str(self.store_settings.port)]
        return Child("the store", command, self.path / "store.log")


@contextmanager
def running_rig(path: Path, options: RigOptions) -> Iterator[Rig]:
    """Run broker, store and workers; end them on leaving."""
    with ExitStack() as stack:
        broker = stack.enter_context(_running_broker(path, options.broker))
        rig = Rig(path, broker, options)
        stack.callback(rig.stop)
        rig.start()
        yield rig


@contextmanager
def _running_broker(path: Path, kind: BrokerKind) -> Iterator[Broker]:
    if kind == "kafka":
        libs, _ = kafka_libs()
        (path / "kafka").mkdir()
        with running_kafka(path / "kafka", libs) as kafka:
            yield Broker(kind, kafka.bootstrap, kafka.node)
        return
    port = free_port()
    process = broker_child(port, path / "broker.log")
    process.start()
    try:
        broker = Broker(kind, f"{LOOPBACK}:{port}", process)
        broker.wait()
        yield broker
    finally:
        process.kill()


def _signal(child: Child, number: signal.Signals) -> None:
    if child.pid is not None:
        os.kill(child.pid, number)
