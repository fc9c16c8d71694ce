"""What Tocsin asks of the engine: deduplication, sketches, time to live, merges."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TOKEN = "insert_deduplication_token"
WITH_VIEWS = {"deduplicate_blocks_in_dependent_materialized_views": 1}


def test_a_token_makes_an_insert_and_its_views_happen_once(client: Client) -> None:
    window = "SETTINGS non_replicated_deduplication_window = 1000"
    client.command(f"CREATE TABLE r (k String, x UInt8) ENGINE = MergeTree ORDER BY k {window}")
    client.command(
        "CREATE TABLE s (k String, n SimpleAggregateFunction(sum, UInt64))"
        f" ENGINE = AggregatingMergeTree ORDER BY k {window}"
    )
    client.command("CREATE MATERIALIZED VIEW v TO s AS SELECT k, count() AS n FROM r GROUP BY k")
    for token, rows in [("1-0", 3), ("1-0", 3), ("1-3", 2), ("1-0", 3), ("1-3", 2)]:
        client.insert(
            "r",
            [["a", i] for i in range(rows)],
            column_names=["k", "x"],
            settings={TOKEN: token, **WITH_VIEWS},
        )
    assert client.query("SELECT (SELECT count() FROM r), (SELECT sum(n) FROM s)").result_rows == [
        (5, 5)
    ]


@pytest.mark.parametrize("exponent", range(-6, 5))
def test_sketches_of_microseconds_are_within_one_percent(client: Client, exponent: int) -> None:
    # In seconds they would not be: below 1, quantilesDD is 1 to 3 % too high.
    worst = client.query(
        "SELECT max(abs(d / (x * 1e6) - 1)) FROM (SELECT any(v) AS x,"
        " quantileDD(0.01, 0.5)(v * 1e6) AS d FROM (SELECT number AS n,"
        " exp10({e:Int8} + number / 100) AS v FROM numbers(100)) GROUP BY n)",
        parameters={"e": exponent},
    ).result_rows[0][0]
    assert worst <= 0.010001


def test_sketches_stay_within_one_percent_through_states_and_merges(client: Client) -> None:
    client.command("CREATE TABLE v (x Float64) ENGINE = MergeTree ORDER BY tuple()")
    client.command(
        "CREATE TABLE s (q AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Float64))"
        " ENGINE = AggregatingMergeTree ORDER BY tuple()"
    )
    client.command(
        "CREATE MATERIALIZED VIEW m TO s AS SELECT quantilesDDState(0.01, 0.5, 0.95, 0.99)(x) AS q"
        " FROM v"
    )
    values = np.random.default_rng(7).lognormal(5, 1, 30_000)
    for part in np.split(values, 10):
        client.insert("v", [part], column_names=["x"], column_oriented=True)
    answer = client.query(
        "SELECT quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(q),"
        " (SELECT quantilesExactLow(0.5, 0.95, 0.99)(x) FROM v) FROM s"
    ).result_rows
    sketched, exact = answer[0]
    assert sketched == pytest.approx(exact, rel=0.01)


def test_old_rows_and_old_texts_expire(client: Client) -> None:
    client.command(
        "CREATE TABLE t (at DateTime64(6, 'UTC'), x UInt8,"
        " text String TTL toDateTime(at) + INTERVAL 90 DAY)"
        " ENGINE = MergeTree PARTITION BY toDate(at) ORDER BY x"
        " TTL toDateTime(at) + INTERVAL 400 DAY SETTINGS ttl_only_drop_parts = 0"
    )
    now = dt.datetime.now(dt.UTC)
    rows = [[now - dt.timedelta(days=days), days % 256, "secret"] for days in (1, 100, 500)]
    client.insert("t", rows, column_names=["at", "x", "text"])
    client.command("OPTIMIZE TABLE t FINAL")
    assert client.query("SELECT x, text FROM t ORDER BY x").result_rows == [
        (1, "secret"),
        (100, ""),
    ]


def test_small_parts_are_merged_in_the_background(client: Client) -> None:
    client.command(
        "CREATE TABLE b (x UInt32) ENGINE = MergeTree ORDER BY x"
        " SETTINGS merge_selecting_sleep_ms = 10"
    )
    for n in range(40):
        client.insert("b", [[n]], column_names=["x"])
    query = (
        "SELECT count() FROM system.parts WHERE active AND table = 'b' AND database = {d:String}"
    )
    for _ in range(200):
        parts = client.query(query, parameters={"d": client.database}).result_rows[0][0]
        if parts < 20:
            break
        client.query("SELECT sleep(0.05)")
    assert parts < 20
    assert client.query("SELECT count() FROM b").result_rows == [(40,)]


def test_a_lightweight_delete_takes_effect_at_once(client: Client) -> None:
    client.command("CREATE TABLE d (user_id String, x UInt8) ENGINE = MergeTree ORDER BY x")
    client.insert("d", [["ann", 1], ["bob", 2]], column_names=["user_id", "x"])
    client.command("DELETE FROM d WHERE user_id = {u:String}", parameters={"u": "ann"})
    assert client.query("SELECT user_id FROM d").result_rows == [("bob",)]


def test_an_async_insert_that_waits_is_there_when_acknowledged(client: Client) -> None:
    client.command("CREATE TABLE a (x UInt8) ENGINE = MergeTree ORDER BY x")
    ways = {"async_insert": 1, "wait_for_async_insert": 1}
    client.insert("a", [[1]], column_names=["x"], settings=ways)
    assert client.query("SELECT x FROM a").result_rows == [(1,)]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_text_survives_parameters_and_inserts(client: Client, texts: list[str]) -> None:
    # NUL and lone surrogates have no place in a parameter's text or in UTF-8.
    texts = [t.replace("\0", "").encode("utf-8", "ignore").decode() for t in texts]
    client.command("CREATE TABLE IF NOT EXISTS texts (i UInt8, t String) ENGINE = Memory")
    client.command("TRUNCATE TABLE texts")
    client.insert("texts", list(enumerate(texts)), column_names=["i", "t"])
    back = client.query("SELECT t FROM texts ORDER BY i").result_rows
    assert [row[0] for row in back] == texts
    bound = client.query(
        "SELECT {ts:Array(String)}, {t:String}", parameters={"ts": texts, "t": texts[0]}
    )
    assert bound.result_rows == [(texts, texts[0])]
