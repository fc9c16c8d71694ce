"""The worker that every installation runs, beside a real Kafka: it is told addresses, no more."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrate import migrate, store_client
from schemas.settings import ClickHouseSettings, KafkaSettings
from schemas.topic_admin import ensure_topics
from tests.acceptance.running import FAST, metric, rows_of
from tests.support.broker import free_port
from tocsin.embedded.child import Child
from tocsin.embedded.store.process import StoreProcess

__all__ = ["Rig", "running_rig"]


@dataclass(frozen=True, slots=True)
class Rig:
    """A worker between Kafka and the store, and clients of both."""

    bootstrap: str
    worker: Child
    metrics_url: str
    client: Client

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return rows_of(self.client, query, **parameters)

    def value(self, query: str, **parameters: Any) -> Any:
        return self.rows(query, **parameters)[0][0]

    def metric(self, name: str, **labels: str) -> float:
        return metric(self.metrics_url, name, **labels)

    def start_worker(self) -> float:
        """Start the worker; return the seconds until it was ready."""
        self.worker.start()
        return self.worker.wait_until(self._ready, 60)

    def _ready(self) -> bool:
        try:
            return self.metric("tocsin_worker_ready") == 1
        except httpx.TransportError:
            return False


@contextmanager
def running_rig(path: Path, bootstrap: str) -> Iterator[Rig]:
    """Make topics and schema as an operator does, then run a worker in fast motion."""
    asyncio.run(ensure_topics(KafkaSettings(bootstrap=bootstrap)))
    with StoreProcess(path / "store", log=path / "store.log") as store:
        address = store.address
        settings = ClickHouseSettings(host=address.host, port=address.port)
        migrate(settings)
        metrics_port = free_port()
        environment = {
            **FAST,
            "TOCSIN_DATA_DIR": str(path / "data"),
            "TOCSIN_FLAGS__PATH": str(path / "flags.json"),
            "TOCSIN_KAFKA__BOOTSTRAP": bootstrap,
            "TOCSIN_CLICKHOUSE__HOST": address.host,
            "TOCSIN_CLICKHOUSE__PORT": str(address.port),
            "TOCSIN_STREAMS__METRICS_PORT": str(metrics_port),
        }
        command = [sys.executable, "-m", "tocsin", "worker"]
        worker = Child("worker", command, path / "worker.log", environment)
        client = store_client(settings, settings.database)
        rig = Rig(bootstrap, worker, f"http://127.0.0.1:{metrics_port}/metrics", client)
        try:
            print(f"worker ready in {rig.start_worker():.1f} s")  # noqa: T201
            yield rig
        finally:
            worker.stop()
            client.close()
