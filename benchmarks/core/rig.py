"""What a measurement stands on: a broker, and for Tocsin a store with its schema."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from clickhouse_connect.driver.client import Client

from benchmarks.core.errors import InexactError
from benchmarks.core.meter import cpu_seconds
from benchmarks.core.workload import Workload, base_time
from schemas.clickhouse.migrate import migrate, store_client
from schemas.codec import decode_records, encode_batch
from schemas.settings import ClickHouseSettings, KafkaSettings
from streams.batch import Origin
from streams.rows import event_rows
from tocsin.embedded.broker import broker_answers, broker_child
from tocsin.embedded.child import Child
from tocsin.embedded.ports import LOOPBACK, choose_port
from tocsin.embedded.store.process import StoreProcess

__all__ = [
    "BROKERS",
    "KAFKA",
    "Broker",
    "StoreRig",
    "Worker",
    "at_rest",
    "running_broker",
    "running_store",
    "wait_for_rows",
    "wait_until",
    "worker_child",
]

TANSU: Final = "tansu"
KAFKA: Final = "kafka"
BROKERS: Final = (TANSU, KAFKA)

_KEPT: Final[list[tempfile.TemporaryDirectory[str]]] = []
_START_S: Final = 60.0
_STALL_S: Final = 120.0
_WARM_EVENTS: Final = 5_000
_REST_WINDOW_S: Final = 1.0
_REST_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker and how to reach it."""

    kind: str
    kafka: KafkaSettings
    pid: int

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds it has used."""
        return cpu_seconds(self.pid)


@dataclass(frozen=True, slots=True)
class StoreRig:
    """A running store with Tocsin's schema."""

    settings: ClickHouseSettings
    client: Client
    pid: int

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds it has used."""
        return cpu_seconds(self.pid)

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return [tuple(row) for row in self.client.query(query, parameters=parameters).result_rows]

    def value(self, query: str, **parameters: Any) -> Any:
        """Return the only value of a query."""
        return self.rows(query, **parameters)[0][0]


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's process, where it shows its metrics, and the file that it prints to."""

    child: Child
    metrics_url: str
    output: Path

    def ready(self) -> bool:
        """Tell whether it has its partitions and tables."""
        try:
            text = httpx.get(self.metrics_url, timeout=2, trust_env=False).text
        except httpx.TransportError:
            return False
        return "\ntocsin_worker_ready 1.0" in text


@contextmanager
def running_broker(kind: str) -> Iterator[Broker]:
    """Run a broker with empty topics: the embedded one, or Apache Kafka.

    Raises:
        PartFailedError, RuntimeError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as scratch:
        path = Path(scratch)
        if kind == KAFKA:
            # Only then, for it needs Java and Maven.
            from tests.support.kafka import kafka_libs, running_kafka  # noqa: PLC0415

            libs, _ = kafka_libs()
            with running_kafka(path, libs) as node:
                pid = node.node.pid
                assert pid is not None
                yield Broker(kind, KafkaSettings(bootstrap=node.bootstrap), pid)
            return
        port = choose_port("broker", 0, "")
        child = broker_child(port, path / "broker.log")
        child.start()
        try:
            child.wait_until(lambda: broker_answers(LOOPBACK, port), _START_S)
            assert child.pid is not None
            kafka = KafkaSettings(
                bootstrap=f"{LOOPBACK}:{port}",
                # As the embedded stack sets it: Tansu holds joins and fetches back for long.
                session_timeout_s=2,
                heartbeat_interval_s=0.5,
                fetch_wait_s=0.1,
            )
            yield Broker(kind, kafka, child.pid)
        finally:
            child.kill()


@contextmanager
def running_store() -> Iterator[StoreRig]:
    """Run an embedded store with an empty schema.

    Raises:
        StoreStartError: it did not start.
    """
    # Removed when all is over: before ext4 makes a file it looks at each inode that was freed
    # within minutes, and thousands of one store's would slow down the next one's inserts.
    _KEPT.append(tempfile.TemporaryDirectory(prefix="tocsin-bench-"))
    path = Path(_KEPT[-1].name)
    with StoreProcess(path / "store", log=path / "store.log") as store:
        address = store.address
        settings = ClickHouseSettings(host=address.host, port=address.port)
        migrate(settings)
        client = store_client(settings, settings.database)
        assert store.pid is not None
        _warm(settings)
        try:
            yield StoreRig(settings, client, store.pid)
        finally:
            client.close()


def _warm(settings: ClickHouseSettings) -> None:
    """Let the store insert a few thousand rows into the same schema of another name.

    An engine's first insert takes it a second: it is started up for the peers' sake, who have none.
    """
    other = settings.model_copy(update={"database": "warm"})
    migrate(other)
    now_us = time.time_ns() // 1_000
    decoded = decode_records(
        [encode_batch(Workload(_WARM_EVENTS, base_time(now_us, _WARM_EVENTS)))],
        now_us=now_us,
        future_us=60_000_000,
        max_bytes=16 * 1024 * 1024,
    )
    places = np.arange(len(decoded.columns))
    rows = event_rows(decoded.columns, Origin("warm", "warm", places * 0, places, places * 0))
    with store_client(other, other.database) as client:
        for _ in range(3):
            client.insert_arrow("requests", rows)


def worker_child(
    name: str,
    path: Path,
    broker: Broker,
    store: StoreRig,
    *,
    group: str,
    script: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Worker:
    """Return a worker that is not started yet.

    Args:
        name: of its log.
        path: its directory.
        broker: where it reads.
        store: where it writes.
        group: its Faust application, and the name of its log in the store's rows.
        script: module and arguments that run the worker; `tocsin worker` without.
        environment: settings that differ from the defaults.
    """
    port = choose_port("worker's /metrics", 0, "")
    kafka, settings = broker.kafka, store.settings
    variables = {
        "TOCSIN_DATA_DIR": str(path / "data"),
        "TOCSIN_FLAGS__PATH": str(path / "flags.json"),
        "TOCSIN_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "TOCSIN_KAFKA__LOG_ID": group,
        "TOCSIN_KAFKA__SESSION_TIMEOUT_S": str(kafka.session_timeout_s),
        "TOCSIN_KAFKA__HEARTBEAT_INTERVAL_S": str(kafka.heartbeat_interval_s),
        "TOCSIN_KAFKA__FETCH_WAIT_S": str(kafka.fetch_wait_s),
        "TOCSIN_CLICKHOUSE__HOST": settings.host,
        "TOCSIN_CLICKHOUSE__PORT": str(settings.port),
        "TOCSIN_STREAMS__APP_ID": group,
        "TOCSIN_STREAMS__METRICS_PORT": str(port),
        "TOCSIN_NOTIFY__STDOUT": "false",
        **(environment or {}),
    }
    output = path / f"{name}.out"
    command = [sys.executable, "-m", *(script or ("tocsin", "worker"))]
    child = Child(name, command, output, variables)
    return Worker(child, f"http://{LOOPBACK}:{port}/metrics", output)


def wait_until(
    ready: Callable[[], bool], children: Sequence[Child], timeout_s: float, what: str
) -> None:
    """Wait until a condition holds, while all children live.

    Raises:
        PartFailedError: a child has ended.
        TimeoutError: the condition does not hold in time.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            tails = "; ".join(child.tail() for child in children)
            raise TimeoutError(f"{what}: not within {timeout_s:g} s; {tails}")
        time.sleep(0.1)


def at_rest(pids: Sequence[int | None]) -> Callable[[], bool]:
    """Return what tells whether processes have used little CPU for a second."""
    used: list[tuple[float, float]] = []

    def resting() -> bool:
        now, total = time.monotonic(), sum(cpu_seconds(pid) for pid in pids if pid is not None)
        used.append((now, total))
        before = [cpu for at, cpu in used if at <= now - _REST_WINDOW_S]
        return bool(before) and total - before[-1] <= _REST_SHARE * _REST_WINDOW_S * len(pids)

    return resting


def wait_for_rows(store: StoreRig, children: Sequence[Child], events: int, look_s: float) -> None:
    """Wait until the store holds a row for each event, for as long as there are more each time.

    Raises:
        InexactError: for two minutes none came; with what went to the dead letters.
        PartFailedError: a child has ended.
    """
    rows, since = -1, time.monotonic()
    while rows < events:
        for child in children:
            child.check()
        found = int(store.value("SELECT count() FROM requests"))
        if found > rows:
            rows, since = found, time.monotonic()
        elif time.monotonic() - since > _STALL_S:
            letters = store.rows("SELECT reason, any(detail), count() FROM dead_letters GROUP BY 1")
            tails = "; ".join(child.tail()[-600:] for child in children)
            raise InexactError(
                f"{rows} rows of {events}, and no more for {_STALL_S:g} s; "
                f"dead letters: {letters}; {tails}"
            )
        time.sleep(look_s)
