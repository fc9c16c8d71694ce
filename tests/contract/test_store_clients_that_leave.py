"""Clients that go away, are refused, or are too many: nothing of them stays behind."""

from __future__ import annotations

import base64
import socket
import time

import httpx
import pytest
from clickhouse_connect.driver.client import Client

from tests.contract.conftest import STORE_PASSWORD
from tocsin.embedded.store import StoreAddress


def open_socket(store: StoreAddress, query: str, length: int) -> socket.socket:
    token = base64.b64encode(f"default:{STORE_PASSWORD}".encode()).decode()
    sock = socket.create_connection((store.host, store.port), timeout=30)
    lines = [
        f"POST /?query={query} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Basic {token}",
        f"Content-Length: {length}",
        "",
        "",
    ]
    sock.sendall("\r\n".join(lines).encode())
    return sock


def until(client: Client, mark: str, wanted: int) -> None:
    # The question holds the mark as well and is one of the queries that run.
    query = "SELECT count() - 1 FROM system.processes WHERE position(query, {m:String}) > 0"
    for _ in range(300):
        if client.query(query, parameters={"m": mark}).result_rows == [(wanted,)]:
            return
        time.sleep(0.05)
    pytest.fail(f"not {wanted} queries with {mark}")


def test_half_an_insert_inserts_nothing(store: StoreAddress, client: Client, database: str) -> None:
    client.command("CREATE TABLE half (x UInt32) ENGINE = MergeTree ORDER BY x")
    sock = open_socket(store, f"INSERT+INTO+{database}.half+FORMAT+TSV", 1_000_000)
    sock.sendall(b"1\n" * 300_000)
    sock.close()
    for _ in range(20):
        assert client.query("SELECT count() FROM half").result_rows == [(0,)]
    client.insert("half", [[7]], column_names=["x"])
    assert client.query("SELECT x FROM half").result_rows == [(7,)]


def test_a_reader_that_leaves_stops_its_query(store: StoreAddress, client: Client) -> None:
    query = "SELECT+number,+'leaver'+FROM+numbers(100000000000)+FORMAT+TSV"
    sock = open_socket(store, query, 0)
    assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    until(client, "leaver", 1)
    sock.close()
    until(client, "leaver", 0)


def test_a_refused_upload_still_gets_its_answer(store: StoreAddress) -> None:
    answer = httpx.post(
        f"{store.url}/?query=INSERT+INTO+nowhere.t+FORMAT+TSV",
        content=b"1\n" * 3_000_000,
        auth=("default", "wrong"),
        trust_env=False,
    )
    assert answer.headers["X-ClickHouse-Exception-Code"] == "516"


def test_unknown_paths_and_methods(store: StoreAddress) -> None:
    assert httpx.get(f"{store.url}/nope", trust_env=False).status_code == 404
    assert httpx.delete(store.url, trust_env=False).status_code == 405
    assert httpx.head(f"{store.url}/ping", trust_env=False).status_code == 200
