"""clickhouse-connect, unchanged, against the embedded store."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import threading
import uuid

import clickhouse_connect
import numpy as np
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from clickhouse_connect.driver.external import ExternalData

from tests.contract.conftest import STORE_PASSWORD, connect
from tocsin.embedded.store import StoreAddress


def test_reads_version_settings_and_timezone_at_connect(client: Client) -> None:
    assert int(client.server_version.split(".")[0]) >= 26
    assert "max_threads" in client.server_settings
    assert client.ping()


def test_rows_and_columns_come_back_as_they_went_in(client: Client) -> None:
    client.command(
        "CREATE TABLE e (id UInt64, name LowCardinality(String), at DateTime64(6, 'UTC'),"
        " cost Nullable(Decimal(18, 9)), key UUID, tags Map(String, String), xs Array(Float64),"
        " kind Enum8('a' = 1, 'b' = 2), day Date DEFAULT toDate(at))"
        " ENGINE = MergeTree PARTITION BY day ORDER BY (name, at)"
    )
    at = dt.datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=dt.UTC)
    key = uuid.UUID("01997b7a-0000-7000-8000-000000000001")
    rows = [
        [1, "x", at, decimal.Decimal("0.000000001"), key, {"k": "v'\n"}, [0.5, -1.0], "b"],
        [2, "ü", at + dt.timedelta(days=1), None, key, {}, [], "a"],
    ]
    names = ["id", "name", "at", "cost", "key", "tags", "xs", "kind"]
    summary = client.insert("e", rows, column_names=names)
    assert summary.written_rows == 2
    back = client.query("SELECT * EXCEPT (day) FROM e ORDER BY id", tz_mode="aware")
    assert [list(row) for row in back.result_rows] == rows
    assert back.column_names == tuple(names)
    columns = [list(values) for values in zip(*rows, strict=True)]
    client.insert("e", columns, column_names=names, column_oriented=True)
    assert client.query("SELECT count(), uniqExact(day) FROM e").result_rows == [(4, 2)]


def test_numpy_columns_go_in_and_dataframes_and_arrow_come_out(client: Client) -> None:
    client.command("CREATE TABLE n (i UInt32, f Float64) ENGINE = MergeTree ORDER BY i")
    ids, values = np.arange(1000, dtype=np.uint32), np.linspace(0, 1, 1000)
    client.insert("n", [ids, values], column_names=["i", "f"], column_oriented=True)
    assert client.query_np("SELECT i FROM n ORDER BY i").ravel().tolist() == ids.tolist()
    pytest.importorskip("pandas")
    assert client.query_df("SELECT * FROM n ORDER BY i")["f"].tolist() == values.tolist()
    pytest.importorskip("pyarrow")
    assert client.query_arrow("SELECT i FROM n ORDER BY i")["i"].to_pylist() == ids.tolist()


@pytest.mark.parametrize(
    "value", ["plain", "it's", 'a"b', "tab\tnew\nline", "back\\slash", "{x:String}", "'; DROP", "ü"]
)
def test_parameters_are_bound_by_the_server(client: Client, value: str) -> None:
    answer = client.query("SELECT {x:String}, {n:UInt32} + 1", parameters={"x": value, "n": 6})
    assert answer.result_rows == [(value, 7)]


def test_parameters_of_composed_types_and_identifiers(client: Client) -> None:
    client.command("CREATE VIEW numbers_1 AS SELECT 1")
    answer = client.query(
        "SELECT {xs:Array(String)}, {d:Nullable(String)}, {at:DateTime64(6, 'UTC')}"
        " FROM {t:Identifier}",
        parameters={
            "xs": ["a'b", "c\\"],
            "d": None,
            "at_64": dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC),
            "t": "numbers_1",
        },
        tz_mode="aware",
    )
    assert answer.result_rows == [
        (["a'b", "c\\"], None, dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC))
    ]


def test_insert_values_takes_parameters(client: Client) -> None:
    client.command("CREATE TABLE p (x String) ENGINE = Memory")
    client.command("INSERT INTO p VALUES ({v:String}), ('b;\n')", parameters={"v": "a'); --"})
    assert client.query("SELECT x FROM p ORDER BY x").result_rows == [("a'); --",), ("b;\n",)]


@pytest.mark.parametrize(
    ("query", "code", "name"),
    [
        ("SELECT nope", 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT * FROM nope", 60, "UNKNOWN_TABLE"),
        ("SELEC 1", 62, "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 62, "SYNTAX_ERROR"),
        ("SELECT throwIf(1)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT {x:String}", 456, "UNKNOWN_QUERY_PARAMETER"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 358, "INTO_OUTFILE_NOT_ALLOWED"),
    ],
)
def test_errors_carry_the_engines_code(client: Client, query: str, code: int, name: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.raw_query(query)
    assert (caught.value.code, caught.value.name) == (code, name)


def test_unknown_database_setting_and_password_are_refused(store: StoreAddress) -> None:
    with pytest.raises(DatabaseError) as caught:
        connect(store, database="nowhere")
    assert caught.value.code == 81
    with connect(store) as client, pytest.raises(DatabaseError) as caught:
        client.raw_query("SELECT 1", settings={"max_threads": "many"})
    assert caught.value.code in {6, 27, 72}
    with pytest.raises(DatabaseError) as caught:
        clickhouse_connect.get_client(host=store.host, port=store.port, password="wrong")
    assert caught.value.code == 516


@pytest.mark.parametrize("coding", ["lz4", "zstd", "br", "gzip", False])
def test_compression_both_ways(store: StoreAddress, database: str, coding: str | bool) -> None:
    with connect(store, database=database, compress=coding) as client:
        client.command("CREATE TABLE c (x UInt64, s String) ENGINE = MergeTree ORDER BY x")
        rows = [[i, f"row\n{i};"] for i in range(20_000)]
        client.insert("c", rows, column_names=["x", "s"])
        assert client.query("SELECT * FROM c ORDER BY x").result_rows == [tuple(r) for r in rows]


def test_a_session_keeps_temporary_tables_and_settings(store: StoreAddress) -> None:
    with connect(store, session_id=uuid.uuid4().hex) as client:
        client.command("CREATE TEMPORARY TABLE mine (x UInt8)")
        client.insert("mine", [[7]], column_names=["x"])
        client.command("SET max_block_size = 1234")
        assert client.query("SELECT x, getSetting('max_block_size') FROM mine").result_rows == [
            (7, 1234)
        ]
        with connect(store) as other, pytest.raises(DatabaseError):
            other.query("SELECT * FROM mine")


def test_settings_of_one_query_do_not_reach_the_next(store: StoreAddress, database: str) -> None:
    with connect(store, session_id=uuid.uuid4().hex, database=database) as client:
        query = "SELECT toUInt64(getSetting('max_block_size')), currentDatabase()"
        before = client.query(query).result_rows
        inside = client.query(query, settings={"max_block_size": 77}).result_rows
        assert inside == [(77, database)]
        assert client.query(query).result_rows == before


def test_a_million_rows_go_in_and_come_out(client: Client) -> None:
    client.command("CREATE TABLE m (x UInt64, s String) ENGINE = MergeTree ORDER BY x")
    ids = np.arange(1_000_000, dtype=np.uint64)
    client.insert("m", [ids, ["abc"] * len(ids)], column_names=["x", "s"], column_oriented=True)
    assert client.query("SELECT count(), sum(x) FROM m").result_rows == [
        (1_000_000, 499_999_500_000)
    ]
    total = 0
    with client.query_column_block_stream("SELECT x FROM m") as blocks:
        for block in blocks:
            total += len(block[0])
    assert total == 1_000_000


def test_a_failure_amid_a_long_result_reaches_the_reader(client: Client) -> None:
    query = "SELECT number, throwIf(number = 900000, 'late') FROM numbers(1000000)"
    settings = {"max_threads": 1, "max_block_size": 10_000}
    with (
        pytest.raises(StreamFailureError, match="late"),
        client.query_row_block_stream(query, settings=settings) as blocks,
    ):
        assert sum(len(block) for block in blocks) < 1_000_000


def test_external_tables_come_with_the_query(client: Client) -> None:
    rows = ExternalData(
        file_name="people.csv", data=b"1,ann\n2,bob\n", fmt="CSV", structure="id UInt8, name String"
    )
    answer = client.query("SELECT name FROM people WHERE id = 2", external_data=rows)
    assert answer.result_rows == [("bob",)]
    with pytest.raises(DatabaseError):
        client.query("SELECT * FROM people")


def test_form_encoded_parameters(store: StoreAddress) -> None:
    with connect(store, form_encode_query_params=True) as client:
        long = "x" * 100_000
        answer = client.query("SELECT length({v:String})", parameters={"v": long})
        assert answer.result_rows == [(100_000,)]


def test_empty_results_and_limit_zero_have_columns(client: Client) -> None:
    assert client.query("SELECT 1 AS a LIMIT 0").column_names == ("a",)
    assert client.query("SELECT 1 AS a WHERE 0").result_rows == []


def test_summary_counts_what_was_read(client: Client) -> None:
    answer = client.query("SELECT sum(number) FROM numbers(1000)", settings={"query_id": "mine-1"})
    assert answer.summary["read_rows"] == "1000"
    assert answer.summary["query_id"] == "mine-1"


def test_many_clients_at_once(store: StoreAddress, database: str) -> None:
    with connect(store, database=database) as client:
        client.command("CREATE TABLE w (t UInt8, x UInt32) ENGINE = MergeTree ORDER BY x")
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            with connect(store, database=database) as mine:
                for _ in range(5):
                    rows = [[thread, i] for i in range(100)]
                    mine.insert("w", rows, column_names=["t", "x"])
                    mine.query("SELECT sum(x) FROM w WHERE t = {t:UInt8}", parameters={"t": thread})
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with connect(store, database=database) as client:
        assert client.query("SELECT count(), uniqExact(t) FROM w").result_rows == [(4000, 8)]


async def test_the_async_client(store: StoreAddress, database: str) -> None:
    client = await clickhouse_connect.get_async_client(
        host=store.host, port=store.port, password=STORE_PASSWORD, database=database
    )
    try:
        await client.command("CREATE TABLE a (x UInt32) ENGINE = MergeTree ORDER BY x")
        await asyncio.gather(
            *(client.insert("a", [[n]], column_names=["x"]) for n in range(10)),
        )
        slow = client.query("SELECT sleep(0.3)")
        quick = client.query("SELECT count() FROM a")
        done, _ = await asyncio.wait(
            [asyncio.ensure_future(slow), asyncio.ensure_future(quick)],
            return_when=asyncio.ALL_COMPLETED,
        )
        assert [(10,)] in [task.result().result_rows for task in done]
        with pytest.raises(DatabaseError) as caught:
            await client.query("SELECT nope")
        assert caught.value.code == 47
    finally:
        await client.close()
