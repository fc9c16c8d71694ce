"""What survives, and who may hold a data directory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.client import Client

from tocsin.embedded.store import StoreAddress, StoreProcess, StoreStartError
from tocsin.embedded.store.lock import LOCK_NAME


def open_client(address: StoreAddress) -> Client:
    return clickhouse_connect.get_client(host=address.host, port=address.port)


def test_acknowledged_rows_survive_kill_9_and_a_stale_lock_is_no_obstacle(tmp_path: Path) -> None:
    first = StoreProcess(tmp_path)
    client = open_client(first.start())
    client.command("CREATE DATABASE kept")
    client.command(
        "CREATE TABLE kept.rows (x UInt32) ENGINE = MergeTree ORDER BY x"
        " SETTINGS non_replicated_deduplication_window = 100"
    )
    for batch in range(5):
        client.insert(
            "kept.rows",
            [[batch]],
            column_names=["x"],
            settings={"insert_deduplication_token": f"t{batch}"},
        )
    first.kill()
    with StoreProcess(tmp_path) as second:
        again = open_client(second.address)
        assert again.query("SELECT count(), sum(x) FROM kept.rows").result_rows == [(5, 10)]
        # The record of what has been inserted survives as well: a replay adds nothing.
        again.insert(
            "kept.rows",
            [[4]],
            column_names=["x"],
            settings={"insert_deduplication_token": "t4"},
        )
        assert again.query("SELECT count() FROM kept.rows").result_rows == [(5,)]
        assert second.stop() == 0


def test_the_second_process_learns_who_holds_the_directory(tmp_path: Path) -> None:
    with StoreProcess(tmp_path) as holder:
        with pytest.raises(StoreStartError) as caught:
            StoreProcess(tmp_path).start()
        assert f"held by process {holder.pid} since 2" in str(caught.value)
        assert httpx.get(f"{holder.address.url}/ping", trust_env=False).text == "Ok.\n"
    assert (tmp_path / LOCK_NAME).read_text() == ""


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StoreStartError, match=f"cannot listen on 127.0.0.1:{port}"):
            StoreProcess(tmp_path, port=port).start()


def test_sigterm_ends_cleanly_though_a_query_runs(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path)
    address = store.start()
    answers = []

    def ask() -> None:
        query = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
        answers.append(httpx.post(address.url, content=query, trust_env=False, timeout=60))

    asking = threading.Thread(target=ask)
    asking.start()
    watch = (
        f"{address.url}/?query=SELECT+count()+FROM+system.processes+WHERE+query+LIKE+'%25sip%25'"
    )
    while httpx.get(watch, trust_env=False).text != "2\n":
        pass
    assert store.stop(timeout_s=60) == 0
    asking.join()
    assert answers[0].headers["X-ClickHouse-Exception-Code"] == "394"


def test_a_store_without_a_password_file_takes_it_from_the_environment(tmp_path: Path) -> None:
    with StoreProcess(tmp_path, password="s3cret") as store:
        listing = subprocess.run(
            ["ps", "-o", "args=", "-p", str(store.pid)], capture_output=True, check=True
        )
        assert b"s3cret" not in listing.stdout
        url = f"{store.address.url}/?query=SELECT+1"
        assert httpx.get(url, trust_env=False).status_code == 403
        assert httpx.get(url, auth=("default", "s3cret"), trust_env=False).text == "1\n"


def test_the_command_line_writes_its_port(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tocsin.embedded.store", "--path", str(tmp_path / "data")),
            *("--host", "127.0.0.1", "--port", "0", "--port-file", str(port_file)),
        ],
        env={**os.environ, "TOCSIN_CLICKHOUSE__PASSWORD": ""},
    )
    try:
        transport = httpx.HTTPTransport(retries=8)
        while not port_file.exists():
            assert process.poll() is None
        with httpx.Client(transport=transport, trust_env=False) as http:
            url = f"http://127.0.0.1:{port_file.read_text()}/?query=SELECT+version()"
            assert http.get(url).text.startswith("2")
    finally:
        process.terminate()
        assert process.wait(20) == 0
