"""An insert is acknowledged when all of it is in the table and in every view behind it, or refused.

A refused insert may have been written in part, as in ClickHouse; the same rows with the same token
complete it.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from tests.contract.conftest import STORE_PASSWORD, connect
from tests.contract.test_store_durability import open_client
from tocsin.embedded.store import StoreAddress, StoreProcess

FORMATS = ["Native", "Arrow", "JSONEachRow", "Values"]
ROWS = 3_000
WINDOW = "SETTINGS non_replicated_deduplication_window = 1000"


@pytest.fixture
def tables(client: Client) -> Client:
    """Give a client whose database has a table, one good view and one that can be made to fail."""
    make_tables(client)
    return client


def make_tables(client: Client) -> None:
    client.command("CREATE TABLE bad (x UInt64) ENGINE = Memory")
    client.command(
        "CREATE TABLE t (x UInt64, s String, CONSTRAINT small CHECK x < 1000000)"
        f" ENGINE = MergeTree ORDER BY x {WINDOW}"
    )
    for name, condition in [
        ("good", "1"),
        ("frail", "NOT throwIf(x IN (SELECT x FROM bad), 'no')"),
    ]:
        client.command(f"CREATE TABLE {name} (x UInt64) ENGINE = MergeTree ORDER BY x {WINDOW}")
        view = f"CREATE MATERIALIZED VIEW {name}_view TO {name} AS "
        client.command(f"{view} SELECT x FROM t WHERE {condition}")  # noqa: S608


def held(client: Client) -> list[tuple[int, int]]:
    """Give how many rows the table and each view hold, and their sum."""
    return [
        client.query(f"SELECT count(), sum(x) FROM {name}").result_rows[0]  # noqa: S608
        for name in ("t", "good", "frail")
    ]


def rows(client: Client, form: str, first: int, count: int = ROWS) -> bytes:
    body: bytes = client.raw_query(
        "SELECT {first:UInt64} + number AS x, concat('row ', toString(x)) AS s"
        " FROM numbers({count:UInt64})",
        parameters={"first": first, "count": count},
        fmt=form,
    )
    return body


def insert(client: Client, form: str, body: bytes, token: str = "", **settings: int) -> None:
    named = {"insert_deduplication_token": token} if token else {}
    client.raw_insert("t", ["x", "s"], body, settings={**named, **settings}, fmt=form)


def sums(*ranges: tuple[int, int]) -> tuple[int, int]:
    values = [n for first, count in ranges for n in range(first, first + count)]
    return len(values), sum(values)


@pytest.mark.parametrize("settings", [{}, {"async_insert": 0}, {"async_insert": 1}])
@pytest.mark.parametrize("form", FORMATS)
def test_rows_that_break_a_constraint(tables: Client, form: str, settings: dict[str, int]) -> None:
    insert(tables, form, rows(tables, form, 0), "", **settings)
    with pytest.raises(DatabaseError, match=r"Code: 469.*Constraint `small` for table .* violated"):
        insert(tables, form, rows(tables, form, 999_000), "", **settings)
    assert held(tables) == [sums((0, ROWS))] * 3
    insert(tables, form, rows(tables, form, ROWS), "", **settings)
    assert held(tables) == [sums((0, 2 * ROWS))] * 3


@pytest.mark.parametrize("form", FORMATS)
def test_a_view_that_throws_and_the_same_insert_again(tables: Client, form: str) -> None:
    insert(tables, form, rows(tables, form, 0), "first")
    tables.command("INSERT INTO bad VALUES (3007)")
    body = rows(tables, form, ROWS)
    for _ in range(2):
        with pytest.raises(DatabaseError, match=r"Code: 395.*no: .*while pushing to view"):
            insert(tables, form, body, "second")
    assert held(tables)[2] == sums((0, ROWS))
    tables.command("TRUNCATE TABLE bad")
    for _ in range(2):
        insert(tables, form, body, "second")
        assert held(tables) == [sums((0, 2 * ROWS))] * 3


def test_rows_that_cannot_be_read_do_not_tell_where_they_waited(tables: Client) -> None:
    with pytest.raises(DatabaseError, match=r"Code: 27.*at row 2") as caught:
        insert(tables, "TSV", b"1\ta\nb\tb\n")
    assert "/proc" not in str(caught.value)
    assert "file" not in str(caught.value)
    assert str(caught.value).count("(CANNOT_PARSE_INPUT_ASSERTION_FAILED)") == 1
    assert held(tables) == [(0, 0)] * 3


def test_many_blocks_are_still_one_insert_to_the_token(tables: Client) -> None:
    body = rows(tables, "TSV", 0, 900_000)
    tables.command("INSERT INTO bad VALUES (899999)")
    with pytest.raises(DatabaseError, match="Code: 395"):
        insert(tables, "TSV", body, "many", min_insert_block_size_rows=100_000)
    tables.command("TRUNCATE TABLE bad")
    for _ in range(2):
        insert(tables, "TSV", body, "many", min_insert_block_size_rows=100_000)
        assert held(tables) == [sums((0, 900_000))] * 3


def test_clients_at_once_each_hear_of_their_own_inserts(
    tables: Client, store: StoreAddress, database: str
) -> None:
    def work(number: int) -> list[int]:
        kept = []
        with connect(store, database=database) as client:
            for turn in range(6):
                first = (number * 6 + turn) * 100
                bad = turn % 3 == number % 3
                form = FORMATS[turn % len(FORMATS)]
                body = rows(client, form, 999_950 if bad else first, 100)
                try:
                    insert(client, form, body, f"{number}-{turn}")
                except DatabaseError as error:
                    if not bad or "Code: 469" not in str(error):
                        raise
                else:
                    assert not bad
                    kept.append(first)
        return kept

    with ThreadPoolExecutor(6) as pool:
        firsts = [first for kept in pool.map(work, range(6)) for first in kept]
    assert len(firsts) == 24
    assert held(tables) == [sums(*((first, 100) for first in firsts))] * 3


def test_kill_9_amid_inserts_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    first = StoreProcess(tmp_path)
    client = open_client(first.start())
    make_tables(client)
    bodies = [rows(client, "Native", n * ROWS) for n in range(150)]
    acknowledged = threading.Semaphore(0)
    done: list[int] = []

    def work() -> None:
        for number, body in enumerate(bodies):
            try:
                insert(client, "Native", body, f"b{number}")
            except (ClickHouseError, OSError, httpx.HTTPError):
                return
            done.append(number)
            acknowledged.release()

    inserting = threading.Thread(target=work)
    inserting.start()
    for _ in range(8):
        assert acknowledged.acquire(timeout=60)
    first.kill()
    inserting.join(60)
    assert 8 <= len(done) < len(bodies)
    with StoreProcess(tmp_path) as second:
        again = open_client(second.address)
        assert all(count >= len(done) * ROWS for count, _ in held(again))
        for number in range(len(done) + 1):  # with the one of which nothing was heard
            insert(again, "Native", bodies[number], f"b{number}")
        assert held(again) == [sums((0, (len(done) + 1) * ROWS))] * 3


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("INSERT INTO settings (x) FORMAT CSV", [(1, 2), (5, 10)]),
        ("INSERT INTO settings (x) SETTINGS max_threads = 1 FORMAT CSV", [(1, 2), (5, 10)]),
        ("INSERT INTO {t:Identifier} (x) FORMAT CSV", [(1, 2), (5, 10)]),
        ("INSERT INTO settings (* EXCEPT (y)) -- FORMAT TSV\n FORMAT CSV", [(1, 2), (5, 10)]),
    ],
)
def test_what_stands_around_the_rows(
    client: Client, store: StoreAddress, database: str, head: str, expected: list[tuple[int, int]]
) -> None:
    client.command("CREATE TABLE settings (x UInt8, y UInt8 DEFAULT x * 2) ENGINE = Memory")
    answer = ask(store, f"{head}\n1\n5\n", database=database, param_t="settings")
    assert answer.status_code == 200, answer.text
    assert client.query("SELECT * FROM settings ORDER BY x").result_rows == expected


@pytest.mark.parametrize("tail", ["", " FORMAT CSV", " SETTINGS max_threads = 1 FORMAT CSV"])
def test_files_of_the_machine_are_not_read(
    client: Client, store: StoreAddress, database: str, tail: str, tmp_path: Path
) -> None:
    client.command("CREATE TABLE l (x String) ENGINE = Memory")
    (tmp_path / "secret.csv").write_text("secret\n")
    text = f"INSERT INTO l FROM INFILE '{tmp_path}/secret.csv'{tail}"
    answer = ask(store, text, database=database)
    assert answer.headers["X-ClickHouse-Exception-Code"] == "78"
    assert client.query("SELECT count() FROM l").result_rows == [(0,)]


def test_a_second_statement_before_the_rows_is_refused(
    client: Client, store: StoreAddress, database: str
) -> None:
    client.command("CREATE TABLE l (x String) ENGINE = Memory")
    text = "INSERT INTO l VALUES ('a'); DROP TABLE l; INSERT INTO l FORMAT CSV\n1\n"
    answer = ask(store, f"/**/{text}".replace("VALUES ('a')", "(x)"), database=database)
    assert answer.headers["X-ClickHouse-Exception-Code"] == "62"
    assert client.query("SELECT count() FROM l").result_rows == [(0,)]


def ask(store: StoreAddress, text: str, **params: str) -> httpx.Response:
    return httpx.post(
        store.url,
        content=text.encode(),
        params=params,
        auth=("default", STORE_PASSWORD),
        trust_env=False,
    )
