"""One embedded store for the whole session; a database of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from tocsin.embedded.store import StoreAddress, StoreProcess

STORE_PASSWORD = "sesame"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreAddress]:
    path: Path = tmp_path_factory.mktemp("store")
    with StoreProcess(path, password=STORE_PASSWORD, log=path / "log") as process:
        yield process.address


@pytest.fixture
def database(store: StoreAddress) -> Iterator[str]:
    name = f"t_{uuid.uuid4().hex[:12]}"
    with connect(store) as client:
        client.command(f"CREATE DATABASE {name}")
        yield name
        client.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture
def client(store: StoreAddress, database: str) -> Iterator[Client]:
    with connect(store, database=database) as opened:
        yield opened


def connect(store: StoreAddress, **options: object) -> Client:
    return clickhouse_connect.get_client(
        host=store.host, port=store.port, password=STORE_PASSWORD, **options
    )
