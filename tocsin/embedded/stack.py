"""The embedded stack: broker, store, workers, executor and API, in one data directory.

Nothing beyond this launcher knows that it is embedded: every part gets addresses, no more. So the
broker can as well be one that runs already.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import httpx
from pydantic import SecretStr

from schemas.clickhouse.migrate import migrate
from schemas.settings import ClickHouseSettings, KafkaSettings, Settings
from schemas.topic_admin import ensure_topics
from tocsin.embedded.broker import broker_answers, broker_child
from tocsin.embedded.child import Child
from tocsin.embedded.data_dir import make_data_dir
from tocsin.embedded.ports import LOOPBACK, choose_port
from tocsin.embedded.store.lock import DirectoryLock
from tocsin.embedded.store.process import StoreProcess

__all__ = ["Stack", "StackOptions", "kafka_variables"]

_SESSION_TIMEOUT_S: Final = 2.0
"""Tansu holds a join back for half the session timeout: short, so that a worker is ready soon."""

_FETCH_WAIT_S: Final = 0.1
"""Tansu looks for new records only a few times within it: short, so that each hop is fast."""


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Where the stack lives and listens; port 0 takes a free one, ``api_port`` None runs no API.

    ``kafka`` names a broker that runs already, which is then used instead of an embedded one.
    """

    data_dir: Path
    kafka_port: int = 0
    clickhouse_port: int = 0
    metrics_port: int = 0
    api_port: int | None = None
    workers: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    kafka: KafkaSettings | None = None


class Stack:
    """Starts everything in order, and stops it in the reverse one; a context manager.

    Attributes:
        settings: what a client needs to reach the stack's parts.
        environment: the same as variables, for processes started beside it.
        workers: the worker processes.
    """

    def __init__(
        self,
        settings: Settings,
        options: StackOptions,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._options = options
        self._base = settings
        self._tell = tell
        self._exit = ExitStack()
        self._children: list[Child] = []
        self._store: StoreProcess | None = None
        self.workers: list[Child] = []
        self.settings = settings
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    @property
    def executor_metrics_url(self) -> str:
        """Return where the executor shows its metrics."""
        return f"http://{LOOPBACK}:{self.settings.actuators.metrics_port}/metrics"

    @property
    def api_url(self) -> str:
        """Return the API's address, if it runs."""
        return f"http://{LOOPBACK}:{self.settings.api.port}"

    @property
    def metrics_urls(self) -> list[str]:
        """Return where each worker shows its metrics."""
        first = self.settings.streams.metrics_port
        return [f"http://{LOOPBACK}:{first + i}/metrics" for i in range(len(self.workers))]

    def children(self) -> Iterator[Child]:
        """Yield the running processes, in the order of their start."""
        yield from self._children

    def check(self) -> None:
        """Raise when a part has ended.

        Raises:
            PartFailedError: with the end of its log.
        """
        for child in self._children:
            child.check()

    def run(self, child: Child) -> Child:
        """Start one more process beside the stack; it stops with it, before the rest."""
        child.start()
        self._exit.callback(self._stop, child)
        self._children.append(child)
        return child

    def _start(self) -> None:
        options = self._options
        make_data_dir(options.data_dir)
        self._exit.enter_context(DirectoryLock(options.data_dir, lambda: dt.datetime.now(dt.UTC)))
        kafka = options.kafka or self._embedded_kafka()
        metrics_port = choose_port("worker's /metrics", options.metrics_port, "--metrics-port")
        api_port = 0
        if options.api_port is not None:
            api_port = choose_port("API", options.api_port, "--api-port")
        if options.clickhouse_port:
            choose_port("store", options.clickhouse_port, "--clickhouse-port")
        logs = options.data_dir / "logs"
        broker: Child | None = None
        if options.kafka is None:
            port = int(kafka.bootstrap.rpartition(":")[2])
            broker = self.run(broker_child(port, logs / "broker.log"))
        store = StoreProcess(
            options.data_dir / "store",
            port=options.clickhouse_port,
            password=self._base.clickhouse.password.get_secret_value(),
            log=logs / "store.log",
        )
        self._tell("starting the store (ClickHouse's engine)")
        address = store.start()
        self._store = store
        self._exit.callback(store.stop)
        if broker is not None:
            self._tell("starting the broker")
            broker.wait_until(lambda: broker_answers(LOOPBACK, port))
        self._configure(kafka, address.port, metrics_port, api_port)
        applied = migrate(self.settings.clickhouse)
        self._tell(f"schema ready ({len(applied)} migrations applied)")
        created = asyncio.run(ensure_topics(self.settings.kafka))
        self._tell(f"topics ready ({len(created)} created)")
        self._start_processes(logs, metrics_port)

    def _embedded_kafka(self) -> KafkaSettings:
        port = choose_port("broker", self._options.kafka_port, "--kafka-port")
        return KafkaSettings(
            bootstrap=f"{LOOPBACK}:{port}",
            # The embedded log starts anew with each broker: so does its name in the store's rows.
            log_id=f"embedded-{uuid.uuid4().hex[:12]}",
            session_timeout_s=_SESSION_TIMEOUT_S,
            heartbeat_interval_s=_SESSION_TIMEOUT_S / 4,
            fetch_wait_s=_FETCH_WAIT_S,
            partitions=self._base.kafka.partitions,
        )

    def _configure(
        self, kafka: KafkaSettings, clickhouse_port: int, metrics_port: int, api_port: int
    ) -> None:
        data_dir = self._options.data_dir.resolve()
        clickhouse = self._base.clickhouse.model_copy(
            update={"host": LOOPBACK, "port": clickhouse_port}
        )
        flags = self._base.flags.model_copy(update={"path": data_dir / "flags.json"})
        streams = self._base.streams.model_copy(update={"metrics_port": metrics_port})
        executor_port = choose_port("executor's /metrics", 0, "")
        actuators = self._base.actuators.model_copy(update={"metrics_port": executor_port})
        api = self._base.api.model_copy(update={"host": LOOPBACK, "port": api_port})
        self.settings = self._base.model_copy(
            update={
                "data_dir": data_dir,
                "kafka": kafka,
                "clickhouse": clickhouse,
                "flags": flags,
                "streams": streams,
                "actuators": actuators,
                "api": api,
            }
        )
        self.environment = {
            "TOCSIN_DATA_DIR": str(data_dir),
            **kafka_variables(kafka),
            **_clickhouse_variables(clickhouse),
            "TOCSIN_FLAGS__PATH": str(flags.path),
            "TOCSIN_ACTUATORS__METRICS_PORT": str(executor_port),
            "TOCSIN_API__HOST": LOOPBACK,
            "TOCSIN_API__PORT": str(api_port),
            **self._options.environment,
        }

    def _start_processes(self, logs: Path, metrics_port: int) -> None:
        for number in range(self._options.workers):
            port = metrics_port + number
            if number:
                choose_port("worker's /metrics", port, "--metrics-port")
            worker = self._tocsin(f"worker-{number}", "worker", logs, port)
            self.workers.append(worker)
        executor = self._tocsin("executor", "executor", logs, metrics_port)
        if self._options.api_port is not None:
            api = self._tocsin("api", "api", logs, metrics_port)
            api.wait_until(lambda: _answers(f"{self.api_url}/healthz"))
        for number, worker in enumerate(self.workers):
            url = f"http://{LOOPBACK}:{metrics_port + number}/metrics"
            seconds = worker.wait_until(lambda url=url: _worker_ready(url))  # type: ignore[misc]
            self._tell(f"worker {number} ready in {seconds:.1f} s")
        executor.check()

    def _tocsin(self, name: str, command: str, logs: Path, metrics_port: int) -> Child:
        variables = {**self.environment, "TOCSIN_STREAMS__METRICS_PORT": str(metrics_port)}
        line = [sys.executable, "-m", "tocsin", command]
        return self.run(Child(name, line, logs / f"{name}.log", variables))

    def _stop(self, child: Child) -> None:
        child.stop()
        self._children.remove(child)


def kafka_variables(kafka: KafkaSettings) -> dict[str, str]:
    """Return all that is set of a broker as variables, its password among them.

    All, because another broker's settings may stand in this process's environment.
    """
    return {
        f"TOCSIN_KAFKA__{name.upper()}": value.get_secret_value()
        if isinstance(value, SecretStr)
        else str(value)
        for name, value in kafka
        if value is not None
    }


def _clickhouse_variables(clickhouse: ClickHouseSettings) -> dict[str, str]:
    return {
        "TOCSIN_CLICKHOUSE__HOST": clickhouse.host,
        "TOCSIN_CLICKHOUSE__PORT": str(clickhouse.port),
        "TOCSIN_CLICKHOUSE__USERNAME": clickhouse.username,
        "TOCSIN_CLICKHOUSE__PASSWORD": clickhouse.password.get_secret_value(),
        "TOCSIN_CLICKHOUSE__DATABASE": clickhouse.database,
    }


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _worker_ready(url: str) -> bool:
    try:
        text = httpx.get(url, timeout=2, trust_env=False).text
    except httpx.TransportError:
        return False
    return "\ntocsin_worker_ready 1.0" in text
