"""Writes that the system refuses: a full disk, and a limit to the size of files (needs no root)."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.contract.test_store_durability import open_client
from tests.contract.test_store_inserts_that_fail import (
    FORMATS,
    ROWS,
    held,
    insert,
    make_tables,
    rows,
    sums,
)
from tocsin.embedded.store import StoreProcess

NO_SPACE = r"Code: 243\..*NOT_ENOUGH_SPACE"
BYTES_A_FILE = 400_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of its own, 96 MiB, where root may make one."""
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no file system can be made here: {made.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(b"\0" * size):
                    pass


@contextmanager
def small_files(store: StoreProcess) -> Iterator[None]:
    """Let every write of the store beyond a file's first 400 kB fail."""
    assert store.pid is not None
    before = resource.prlimit(store.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(store.pid, resource.RLIMIT_FSIZE, (BYTES_A_FILE, before[1]))
    try:
        yield
    finally:
        resource.prlimit(store.pid, resource.RLIMIT_FSIZE, before)


def test_a_full_disk_refuses_rows_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    with StoreProcess(small_disk / "store") as store:
        client = open_client(store.address)
        make_tables(client)
        insert(client, "Native", rows(client, "Native", 0), "before")
        bodies = {form: rows(client, form, n * ROWS) for n, form in enumerate(FORMATS, 1)}
        ballast = small_disk / "ballast"
        fill(ballast)
        for form, body in bodies.items():
            with pytest.raises(DatabaseError, match=NO_SPACE):
                insert(client, form, body, form)
        with pytest.raises(DatabaseError, match=NO_SPACE):
            client.command("INSERT INTO t SELECT number, '' FROM numbers(10)")
        with pytest.raises(DatabaseError, match=NO_SPACE):
            client.command("CREATE TABLE other (x UInt8) ENGINE = MergeTree ORDER BY x")
        assert held(client) == [sums((0, ROWS))] * 3
        ballast.unlink()
        for _ in range(2):
            for form, body in bodies.items():
                insert(client, form, body, form)
        assert held(client) == [sums((0, 5 * ROWS))] * 3


@pytest.mark.parametrize("padded", ["t", "good", "frail"])
@pytest.mark.parametrize("wide", [0, 10_000_000])
def test_writes_that_fail_halfway_and_the_same_insert_again(
    tmp_path: Path, padded: str, wide: int
) -> None:
    store = StoreProcess(tmp_path)
    client = open_client(store.start())
    make_tables(client)
    client.command(f"ALTER TABLE {padded} MODIFY SETTING min_bytes_for_wide_part = {wide}")
    # More is written than has been sent, so that the write fails in this table and not before.
    client.command(f"ALTER TABLE {padded} ADD COLUMN pad String DEFAULT randomPrintableASCII(300)")
    insert(client, "Native", rows(client, "Native", 0, 100), "before")
    body = rows(client, "Native", 100)
    with small_files(store):
        for _ in range(2):
            with pytest.raises(DatabaseError, match=NO_SPACE):
                insert(client, "Native", body, "again")
            names = ["t", "good", "frail"]
            assert held(client)[names.index(padded)] == sums((0, 100))
            assert client.query(f"SELECT max(length(pad)) FROM {padded}").result_rows == [(300,)]  # noqa: S608
    for _ in range(2):
        insert(client, "Native", body, "again")
        assert held(client) == [sums((0, 100 + ROWS))] * 3
    store.kill()
    with StoreProcess(tmp_path) as second:
        again = open_client(second.address)
        assert held(again) == [sums((0, 100 + ROWS))] * 3
        insert(again, "Native", body, "again")
        assert held(again) == [sums((0, 100 + ROWS))] * 3
        assert again.query(f"SELECT sum(length(pad)) FROM {padded}").result_rows == [  # noqa: S608
            ((100 + ROWS) * 300,)
        ]


def test_a_failed_write_is_repaired_though_another_error_is_told(tmp_path: Path) -> None:
    with StoreProcess(tmp_path) as store:
        client = open_client(store.address)
        make_tables(client)
        client.command("ALTER TABLE t ADD COLUMN pad String DEFAULT randomPrintableASCII(300)")
        client.command("INSERT INTO bad VALUES (7)")
        body = rows(client, "Native", 0)
        with small_files(store):
            with pytest.raises(DatabaseError, match=r"Code: 395"):
                insert(client, "Native", body, "again")
            assert padding(client) == 0
        client.command("TRUNCATE TABLE bad")
        insert(client, "Native", body, "again")
        assert held(client) == [sums((0, ROWS))] * 3
        assert padding(client) == ROWS * 300


def test_a_merge_whose_writes_fail_loses_nothing(tmp_path: Path) -> None:
    with StoreProcess(tmp_path) as store:
        client = open_client(store.address)
        make_tables(client)
        client.command("ALTER TABLE t ADD COLUMN pad String DEFAULT randomPrintableASCII(300)")
        for number in range(4):
            insert(client, "Native", rows(client, "Native", number * 1000, 1000), f"m{number}")
        with small_files(store), suppress(DatabaseError):
            client.command("OPTIMIZE TABLE t FINAL")
        for _ in range(100):
            with suppress(DatabaseError):
                if padding(client) == 4000 * 300:
                    break
            client.query("SELECT sleep(0.1)")
        assert padding(client) == 4000 * 300
        assert held(client) == [sums((0, 4000))] * 3
        insert(client, "Native", rows(client, "Native", 0, 1000), "m0")
        client.command("OPTIMIZE TABLE t FINAL")
        assert padding(client) == 4000 * 300


def padding(client: Client) -> int:
    return int(client.query("SELECT sum(length(pad)) FROM t").result_rows[0][0])


def test_an_answer_that_cannot_be_kept_is_not_cut_off(tmp_path: Path) -> None:
    with StoreProcess(tmp_path) as store:
        client = open_client(store.address)
        with small_files(store), pytest.raises(DatabaseError, match=NO_SPACE):
            client.raw_query("SELECT randomPrintableASCII(100) FROM numbers(10000)", fmt="JSON")
        assert client.raw_query("SELECT 1 AS x", fmt="JSON")
