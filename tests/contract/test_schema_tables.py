"""The tables on the real engine: their columns, their ends, their sums."""

from __future__ import annotations

import datetime as dt
import math
import random
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, get_args

import pytest
from clickhouse_connect.driver.client import Client

from schemas.action import (
    ActionDecided,
    ActionProposed,
    ActionRequested,
    ActionResult,
    ActionVerdict,
    KillSwitch,
)
from schemas.alert import AlertTransition
from schemas.base import Message
from schemas.clickhouse.erase import erase_user
from schemas.clickhouse.migrate import migrate, store_client
from schemas.command import AckCommand, DecideCommand, ExpireCommand, SilenceCommand
from schemas.dead_letter import DeadLetter
from schemas.engine import EngineSample
from schemas.evaluation import EvalResult
from schemas.event import RequestEvent
from schemas.feedback import FeedbackEvent
from schemas.flag import FlagValue
from schemas.settings import ClickHouseSettings
from schemas.signal import Signal
from schemas.window import WindowPartial
from streams.rows import SKETCH_COLUMNS
from tests.contract.conftest import STORE_PASSWORD
from tocsin.embedded.store import StoreAddress

PLACE = {"kafka_log", "kafka_partition", "kafka_offset"}
INSERT = {"insert_writer", "insert_number"}
SERIES = {"provider", "model", "model_version", "route", "feature"}
PERCENTILES = {f"{x}_p{p}_s" for x in ("ttft", "e2e", "tpot") for p in (50, 95, 99)}

# Table: (messages, columns beyond their fields, fields without a column and why).
TABLES: dict[str, tuple[tuple[type[Message], ...], set[str], set[str]]] = {
    "requests": (
        (RequestEvent,),
        {*PLACE, *INSERT, "kafka_topic", "kafka_index", "failed", "rejected", "cost_usd"},
        set(),
    ),
    "windows": (
        (WindowPartial,),
        {
            *SERIES,
            *PERCENTILES,
            *SKETCH_COLUMNS.values(),
            "revision",
            "output_tokens_per_s",
            "closed_at",
            "cost_usd",
        },
        {"cost_nano_usd", "sketches"},  # shown as cost_usd, as percentiles and packed
    ),
    "signals": ((Signal,), set(), set()),
    "alerts": ((AlertTransition,), PLACE, set()),
    "actions": (
        (
            ActionRequested,
            ActionResult,
            ActionVerdict,
            ActionProposed,
            ActionDecided,
            KillSwitch,
        ),
        {*PLACE, "at"},
        # Of the request alone; its evidence and reason tell what a reader of the audit needs, and
        # what was granted stands in the rows of the proposal and the decision.
        {"dry_run", "undoes", "plans", "granted", "verify_within_s", "requested_at"},
    ),
    "commands": (
        (SilenceCommand, ExpireCommand, AckCommand, DecideCommand),
        PLACE,
        set(),
    ),
    "flags": ((FlagValue,), PLACE, set()),
    "evals": ((EvalResult,), set(), set()),
    "feedback": (
        (FeedbackEvent,),
        {"matched", "provider", "model", "model_version", "feature"},
        set(),
    ),
    "dead_letters": ((DeadLetter,), PLACE, set()),
    "engine_samples": ((EngineSample,), set(), set()),
    "detector_memory": ((), {"kind", "asked", "series", "slot", "at", "state", "expires"}, set()),
}
OF_EVERY_TABLE = {"ingested_at"}
ROLLUPS = {"performance_1m", "performance_1h", "cost_1h"}


@pytest.fixture(scope="module")
def database(store: StoreAddress) -> Iterator[Client]:
    settings = ClickHouseSettings(
        host=store.host,
        port=store.port,
        password=STORE_PASSWORD,
        database=f"s_{uuid.uuid4().hex[:12]}",
    )
    migrate(settings)
    client = store_client(settings, settings.database)
    yield client
    client.command(f"DROP DATABASE {settings.database} SYNC")
    client.close()


def rows(client: Client, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(query, parameters=parameters).result_rows]


@pytest.mark.parametrize("table", TABLES)
def test_every_field_has_its_column_and_every_column_its_field(
    database: Client, table: str
) -> None:
    messages, more, without = TABLES[table]
    fields = {
        name.removesuffix("_us") for message in messages for name in message.model_fields
    } - without
    if table != "requests":
        fields.discard("schema_version")  # rows of these tables are read by this version alone
    found = rows(
        database,
        "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {t:String}",
        t=table,
    )
    columns = {name for (name,) in found}
    assert columns - OF_EVERY_TABLE == (fields | more) - OF_EVERY_TABLE


@pytest.mark.parametrize("table", TABLES)
def test_what_may_be_unknown_is_nullable_and_nothing_else(database: Client, table: str) -> None:
    messages, _, _ = TABLES[table]
    if len(messages) != 1:
        pytest.skip("a table of several messages leaves columns of the others empty")
    types = dict(
        rows(
            database,
            "SELECT name, type FROM system.columns"
            " WHERE database = currentDatabase() AND table = {t:String}",
            t=table,
        )
    )
    for name, field in messages[0].model_fields.items():
        column = types.get(name.removesuffix("_us"))
        if column is not None:
            optional = type(None) in get_args(field.annotation)
            assert ("Nullable" in column) == optional, f"{table}.{name}: {column}"
        if name.endswith("_us") and column is not None:
            assert column == "DateTime64(6, 'UTC')"


def test_every_table_ends(database: Client) -> None:
    tables = dict(
        rows(
            database,
            "SELECT name, engine_full FROM system.tables"
            " WHERE database = currentDatabase() AND engine LIKE '%MergeTree'",
        )
    )
    assert set(tables) == {*TABLES, *ROLLUPS, "schema_migrations"}
    for name, engine in tables.items():
        # The record of migrations holds nothing of anybody and is needed for ever.
        assert (" TTL " in engine) == (name != "schema_migrations"), name
        assert ("ttl_only_drop_parts" in engine) == (name in TABLES), name


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("requests", "prompt_redacted"),
        ("requests", "output_redacted"),
        ("evals", "explanation"),
        ("feedback", "correction_redacted"),
    ],
)
def test_texts_end_before_their_rows(database: Client, table: str, column: str) -> None:
    (create,) = rows(database, f"SHOW CREATE TABLE {table}")
    line = next(part for part in str(create[0]).splitlines() if f"`{column}`" in part)
    assert "toIntervalDay(90)" in line


def event(number: int, rng: random.Random, **changes: Any) -> dict[str, Any]:
    start = dt.datetime.now(dt.UTC).replace(minute=10, second=0, microsecond=0)
    end = start + dt.timedelta(seconds=rng.uniform(0, 180))
    known = rng.random() < 0.8
    row = {
        "event_id": uuid.UUID(int=number),
        "request_id": f"r{number}",
        "schema_version": 1,
        "start_time": start,
        "end_time": end,
        "server": "s",
        "provider": "vllm",
        "model": rng.choice(["a", "b"]),
        "model_version": rng.choice(["v1", "v2"]),
        "operation": "chat",
        "stream": True,
        "route": "stable",
        "feature": rng.choice(["search", None]),
        "user_id": rng.choice(["ann", "bob", None]),
        "status_code": 200,
        "failed": rng.random() < 0.1,
        "aborted": rng.random() < 0.1,
        "input_tokens": 100 if known else None,
        "output_tokens": rng.randrange(1, 500) if known else None,
        "cost_usd": Decimal(rng.randrange(10**9)).scaleb(-9) if rng.random() < 0.6 else None,
        "ttft_s": rng.lognormvariate(-1, 0.6) if rng.random() < 0.9 else None,
        "e2e_s": rng.lognormvariate(1, 0.6),
        "tpot_s": rng.lognormvariate(-4, 0.6),
        "kafka_log": "log",
        "kafka_topic": "llm.requests",
        "kafka_partition": number % 3,
        "kafka_offset": number,
    }
    return {**row, **changes}


def put(client: Client, events: list[dict[str, Any]], token: str) -> None:
    client.insert(
        "requests",
        [[row[name] for row in events] for name in events[0]],
        column_names=list(events[0]),
        column_oriented=True,
        settings={"insert_deduplication_token": token},
    )


@pytest.fixture(scope="module")
def filled(database: Client) -> Client:
    rng = random.Random(3)
    for batch in range(4):
        events = [event(batch * 500 + i, rng) for i in range(500)]
        put(database, events, f"0-{batch}")
        put(database, events, f"0-{batch}")  # the reply was lost, the sink tries again
    return database


EXACT = """
    SELECT model, model_version, ifNull(r.feature, '') AS f, count(), countIf(failed),
           countIf(aborted), sum(r.input_tokens), sum(r.output_tokens),
           countIf(isNull(r.input_tokens) OR isNull(r.output_tokens)), sum(r.cost_usd),
           countIf(isNull(r.cost_usd)),
           countIf(isNull(r.cost_usd) AND isNotNull(r.input_tokens)
                   AND isNotNull(r.output_tokens)), count(ttft_s)
    FROM requests AS r WHERE model IN ('a', 'b')
    GROUP BY model, model_version, f ORDER BY model, model_version, f
"""
ROLLED = """
    SELECT model, model_version, feature, sum(requests), sum(errors), sum(aborted),
           sum(input_tokens), sum(output_tokens), sum(tokens_unknown), sum(cost_usd),
           sum(cost_unknown), sum(price_unknown), sum(ttft_samples)
    FROM {table:Identifier} WHERE model IN ('a', 'b') GROUP BY model, model_version, feature
    ORDER BY model, model_version, feature
"""


@pytest.mark.parametrize("table", ["performance_1m", "performance_1h"])
def test_rollups_are_the_exact_sums_though_inserts_were_repeated(
    filled: Client, table: str
) -> None:
    assert rows(filled, "SELECT count() FROM requests WHERE model IN ('a', 'b')") == [(2000,)]
    assert rows(filled, ROLLED, table=table) == rows(filled, EXACT)


@pytest.mark.parametrize("quantity", ["ttft", "e2e", "tpot"])
@pytest.mark.parametrize("view", ["performance_1m", "performance_1h"])
def test_percentiles_of_rollups_are_within_one_percent(
    filled: Client, view: str, quantity: str
) -> None:
    column = f"{quantity}_s"
    values = sorted(
        value
        for (value,) in rows(
            filled, "SELECT {c:Identifier} FROM requests WHERE model IN ('a', 'b')", c=column
        )
        if value is not None
    )
    (found,) = rows(
        filled,
        "SELECT quantilesDDMerge(0.01, 0.5, 0.95, 0.99)({c:Identifier}) FROM {v:Identifier}"
        " WHERE model IN ('a', 'b')",
        v=view,
        c=f"{quantity}_us",
    )
    for percentile, sketched in zip((0.5, 0.95, 0.99), found[0], strict=True):
        # The exact percentile lies between two neighbours; which one depends on its definition.
        rank = percentile * (len(values) - 1)
        low, high = values[math.floor(rank)], values[math.ceil(rank) + 1]
        assert low * 0.99 <= sketched / 1e6 <= high * 1.01


def test_views_give_percentiles_in_seconds_and_unknown_as_null(filled: Client) -> None:
    put(
        filled,
        [event(9002, random.Random(5), model="x", e2e_s=0.25, ttft_s=None, kafka_log="2")],
        "views",
    )
    for view in ("performance_by_minute", "performance_by_hour"):
        (row,) = rows(
            filled,
            "SELECT requests, e2e_p50_s, e2e_p99_s, ttft_p50_s FROM {v:Identifier}"
            " WHERE model = 'x'",
            v=view,
        )
        assert row == (1, pytest.approx(0.25, rel=0.01), pytest.approx(0.25, rel=0.01), None)


def test_unknown_costs_are_unknown_and_not_zero(filled: Client) -> None:
    unknown = event(9000, random.Random(1), model="free", cost_usd=None, kafka_log="2")
    put(filled, [unknown], "unknown")
    found = "SELECT sum(cost_usd), sum(cost_unknown) FROM {t:Identifier} WHERE model = 'free'"
    for table in ROLLUPS:
        assert rows(filled, found, t=table) == [(None, 1)]


def test_costs_by_user_are_the_exact_sums(filled: Client) -> None:
    query = "SELECT ifNull(user_id, '') AS u, sum(cost_usd) FROM {t:Identifier}"
    tail = " WHERE model IN ('a', 'b') GROUP BY u ORDER BY u"
    assert rows(filled, query + tail, t="cost_1h") == rows(filled, query + tail, t="requests")


def test_what_is_held_is_told_by_the_projection(filled: Client) -> None:
    query = """
        SELECT kafka_partition, max(kafka_offset) FROM requests
        WHERE kafka_log = 'log' AND kafka_topic = 'llm.requests'
          AND kafka_partition IN (0, 1, 2)
        GROUP BY kafka_partition ORDER BY kafka_partition
    """
    assert rows(filled, query) == [(0, 1998), (1, 1999), (2, 1997)]
    plan = rows(filled, f"EXPLAIN indexes = 1 {query}")
    assert any("held" in str(line) for line in plan)


def test_a_user_is_erased_everywhere(filled: Client) -> None:
    victim = event(
        9001,
        random.Random(2),
        model="gone",
        kafka_log="2",
        user_id="zoe",
        prompt_redacted="a secret",
    )
    put(filled, [victim], "victim")
    now = dt.datetime.now(dt.UTC)
    filled.insert(
        "evals",
        [[uuid.uuid4(), victim["event_id"], "r9001", now, now, "j", "m", {}, "scored", "a secret"]],
        column_names=[
            *("eval_id", "event_id", "request_id", "request_end", "at", "evaluator"),
            *("judge_model", "labels", "outcome", "explanation"),
        ],
    )
    filled.insert(
        "feedback",
        [[uuid.uuid4(), "r9001", now, None, "a secret"], [uuid.uuid4(), "x", now, "zoe", None]],
        column_names=["feedback_id", "request_id", "at", "user_id", "correction_redacted"],
    )
    before = rows(filled, "SELECT sum(requests) FROM performance_1h")
    assert erase_user(filled, "zoe") == 1
    for table in ("requests", "cost_1h", "feedback"):
        assert rows(
            filled, "SELECT count() FROM {t:Identifier} WHERE user_id = 'zoe'", t=table
        ) == [(0,)]
    assert rows(filled, "SELECT count() FROM feedback") == [(0,)]
    assert rows(filled, "SELECT count() FROM evals") == [(0,)]
    assert rows(filled, "SELECT sum(requests) FROM performance_1h") == before
    assert erase_user(filled, "zoe") == 0
    # The projection has been made anew with what is left.
    held = "SELECT max(kafka_offset) FROM requests WHERE kafka_log = 'log'"
    assert rows(filled, held) == [(1999,)]


def test_texts_and_rows_go_when_their_time_is_over(filled: Client) -> None:
    rng, now = random.Random(4), dt.datetime.now(dt.UTC)
    for number, days in enumerate((1, 100, 200)):
        at = now - dt.timedelta(days=days)
        row = event(
            9100 + number,
            rng,
            model="old",
            kafka_log="3",
            start_time=at,
            end_time=at,
            prompt_redacted=f"{days} days",
        )
        put(filled, [row], f"old-{days}")
    filled.command("OPTIMIZE TABLE requests FINAL")
    query = "SELECT prompt_redacted FROM requests WHERE model = 'old' ORDER BY end_time DESC"
    assert rows(filled, query) == [("1 days",), (None,)]


def test_a_correction_replaces_its_window(filled: Client) -> None:
    start = dt.datetime(2026, 11, 24, 1, tzinfo=dt.UTC)
    columns = ["window_start", "window_end", "model", "labels", "revision", "requests"]
    for revision, requests in [(0, 10), (1, 12), (0, 10)]:
        end = start + dt.timedelta(seconds=10)
        row = [start, end, "m", {"plan": "pro"}, revision, requests]
        filled.insert("windows", [row], column_names=columns)
    assert rows(filled, "SELECT revision, requests FROM windows FINAL") == [(1, 12)]
