"""The comparison finds what was lost, doubled, changed, or added up wrongly: on the real engine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrate import migrate, store_client
from schemas.settings import ClickHouseSettings
from tests.chaos.compare import Difference, compare
from tests.chaos.ledger import WINDOW_COLUMNS, Ledger, Outcome
from tests.chaos.traffic import SERIES, USERS, Traffic, values
from tocsin.embedded.store.process import StoreProcess

NOW_US = time.time_ns() // 1_000  # tables end what is old
COUNT = 400
WINDOW_US = 1_000_000
KEYS = ("window_start", "provider", "model", "model_version", "route", "feature")
OPTIONAL = (
    "error_type",
    "feature",
    "user_id",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "ttft_s",
)
TABLES = ("requests", "windows", "performance_1m", "performance_1h", "cost_1h", "dead_letters")


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    events = Traffic(1).make(COUNT, NOW_US, NOW_US + 3_000_000)
    events["partition"], events["offset"] = np.arange(COUNT) % 4, np.arange(COUNT) // 4
    return Ledger(events, SERIES, USERS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with StoreProcess(tmp_path_factory.mktemp("store")) as process:
        settings = ClickHouseSettings(host=process.address.host, port=process.address.port)
        migrate(settings)
        client = store_client(settings, settings.database)
        yield client
        client.close()


@pytest.fixture
def filled(store: Client, ledger: Ledger) -> Client:
    """Fill the store as workers would that do everything right."""
    for table in TABLES:
        store.command(f"TRUNCATE TABLE {table}")
    insert_rows(store, ledger)
    insert_windows(store, ledger)
    return store


def insert_rows(client: Client, ledger: Ledger, **changes: Any) -> None:
    """Insert events as the schema has them, without the help of the code under test."""
    rows = []
    for event, value in zip(ledger.events, values(ledger.events), strict=True):
        document = json.loads(value)
        cost = int(event["cost"])
        rows.append(
            {
                **dict.fromkeys(OPTIONAL),
                **document,
                "start_time": document.pop("start_time_us"),
                "end_time": document.pop("end_time_us"),
                "failed": event["outcome"] in {Outcome.FAILED, Outcome.BROKEN},
                "rejected": event["outcome"] == Outcome.REJECTED,
                "aborted": event["outcome"] == Outcome.ABORTED,
                "cost_usd": None if cost < 0 else Decimal(cost).scaleb(-9),
                "kafka_log": "log",
                "kafka_topic": "llm.requests",
                "kafka_partition": int(event["partition"]),
                "kafka_offset": int(event["offset"]),
                "kafka_index": int(event["index"]),
                **changes,
            }
        )
    names = sorted(rows[0].keys() - {"start_time_us", "end_time_us", "finish_reasons"})
    client.insert("requests", [[row[name] for name in names] for row in rows], column_names=names)


def insert_windows(client: Client, ledger: Ledger) -> None:
    names = [name if name != "cost_nano_usd" else "cost_usd" for name in WINDOW_COLUMNS]
    rows = []
    for key, figures in ledger.windows(WINDOW_US).items():
        row: dict[str, Any] = dict(zip(names, figures, strict=True))
        cost = row["cost_usd"]
        row["cost_usd"] = None if cost is None else Decimal(cost).scaleb(-9)
        rows.append([*key, key[0] + WINDOW_US, 0, *row.values()])
    columns = [*KEYS, "window_end", "revision", *names]
    client.insert("windows", rows, column_names=columns)


def part(ledger: Ledger, *numbers: int) -> Ledger:
    return Ledger(ledger.events[list(numbers)], SERIES, USERS)


def found(client: Client, ledger: Ledger) -> dict[str, Difference]:
    return {difference.kind: difference for difference in compare(client, ledger, WINDOW_US)}


def test_nothing_is_found_where_all_is_right(filled: Client, ledger: Ledger) -> None:
    assert found(filled, ledger) == {}


def test_a_lost_row_is_found_and_named_with_its_place(filled: Client, ledger: Ledger) -> None:
    lost = ledger.id_of(17)
    filled.command("DELETE FROM requests WHERE event_id = {id:UUID}", {"id": str(lost)})
    differences = found(filled, ledger)
    assert differences.keys() == {"rows lost"}  # windows and rollups stand
    assert differences["rows lost"].count == 1
    text = str(differences["rows lost"])
    assert str(lost) in text
    assert "partition 1 offset 4 index 0" in text


def test_a_doubled_row_is_found_in_rows_and_rollups(filled: Client, ledger: Ledger) -> None:
    insert_rows(filled, part(ledger, 30), kafka_offset=99)
    differences = found(filled, ledger)
    assert differences.keys() == {"rows doubled", "wrong minute sums", "wrong cost sums"}
    text = str(differences["rows doubled"])
    assert str(ledger.id_of(30)) in text
    assert "offset 99" in text


def test_a_row_lost_and_another_doubled_do_not_cancel_out(filled: Client, ledger: Ledger) -> None:
    parameters = {"id": str(ledger.id_of(3))}
    filled.command("DELETE FROM requests WHERE event_id = {id:UUID}", parameters)
    insert_rows(filled, part(ledger, 4))
    assert {"rows lost", "rows doubled"} <= found(filled, ledger).keys()


def test_a_row_that_nobody_sent_is_found(filled: Client, ledger: Ledger) -> None:
    stranger = Ledger(Traffic(9).make(1, NOW_US, NOW_US), SERIES, USERS)
    stranger.events["partition"] = stranger.events["offset"] = 0
    insert_rows(filled, stranger)
    assert found(filled, ledger)["rows that nobody sent"].count == 1


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("output_tokens", 77_777, "output"),
        ("input_tokens", None, "input"),
        ("cached_input_tokens", 88_888, "cached"),
        ("cost_usd", Decimal("1.5"), "cost"),
        ("model_version", "v3", "series"),
        ("user_id", "another", "user"),
        ("e2e_s", 99.0, "e2e_s"),
        pytest.param("end_time", NOW_US + 7, "end_us", id="end_time"),
    ],
)
def test_a_changed_row_is_found(
    filled: Client, ledger: Ledger, column: str, value: Any, kind: str
) -> None:
    number = int(np.flatnonzero((ledger.events["input"] > 0) & (ledger.events["user"] > 0))[0])
    parameters = {"id": str(ledger.id_of(number))}
    filled.command("DELETE FROM requests WHERE event_id = {id:UUID}", parameters)
    insert_rows(filled, part(ledger, number), **{column: value})
    differences = found(filled, ledger)
    assert differences[f"rows with another {kind}"].count == 1
    assert str(ledger.id_of(number)) in str(differences[f"rows with another {kind}"])


@pytest.mark.parametrize("flag", ["failed", "rejected", "aborted"])
def test_another_outcome_is_found(filled: Client, ledger: Ledger, flag: str) -> None:
    number = int(np.flatnonzero(ledger.events["outcome"] == 0)[0])
    parameters = {"id": str(ledger.id_of(number))}
    filled.command("DELETE FROM requests WHERE event_id = {id:UUID}", parameters)
    insert_rows(filled, part(ledger, number), **{flag: True})
    assert "rows with another outcome" in found(filled, ledger)


@pytest.mark.parametrize("column", WINDOW_COLUMNS)
def test_a_wrong_window_is_found_with_its_events(
    filled: Client, ledger: Ledger, column: str
) -> None:
    wanted = ledger.windows(WINDOW_US)
    place = WINDOW_COLUMNS.index(column)
    key = next(key for key, figures in wanted.items() if figures[place])
    name = column if column != "cost_nano_usd" else "cost_usd"
    condition = " AND ".join(f"{field} = {{{field}:String}}" for field in KEYS[1:])
    parameters = {**dict(zip(KEYS, key, strict=True))}
    of_it = f"toUnixTimestamp64Micro(window_start) = {{window_start:Int64}} AND {condition}"
    if column == "requests":  # the version of ReplacingMergeTree: a row of its own
        keys = ", ".join(("window_start", "window_end", *KEYS[1:]))
        change = f"INSERT INTO windows ({keys}, requests) "
        change += f"SELECT {keys}, requests + 1 FROM windows WHERE {of_it}"  # noqa: S608
    else:
        change = f"ALTER TABLE windows UPDATE {name} = {name} + 1 WHERE {of_it}"
        change += " SETTINGS mutations_sync = 1"
    filled.command(change, parameters)
    differences = found(filled, ledger)
    assert differences.keys() == {"wrong window sums"}
    assert differences["wrong window sums"].count == 1
    text = str(differences["wrong window sums"])
    assert column in text
    assert str(ledger.id_of(int(ledger.members(WINDOW_US, key[0], tuple(key[1:]))[0]))) in text


def test_a_window_that_is_missing_and_one_too_many_are_found(
    filled: Client, ledger: Ledger
) -> None:
    filled.command("DELETE FROM windows WHERE model_version = 'v1'")
    gone = sum(key[3] == "v1" for key in ledger.windows(WINDOW_US))
    assert found(filled, ledger)["wrong window sums"].count == gone
    more = Ledger(Traffic(5).make(1, NOW_US + 60_000_000, NOW_US + 60_000_000), SERIES, USERS)
    insert_windows(filled, more)
    assert found(filled, ledger)["wrong window sums"].count == gone + 1


def test_a_dead_letter_that_nobody_expects_is_found(filled: Client, ledger: Ledger) -> None:
    columns = ["reason", "topic", "partition", "offset", "at"]
    filled.insert("dead_letters", [["empty", "llm.requests", 3, 5, NOW_US]], column_names=columns)
    assert found(filled, ledger)["dead letters (expected 0)"].count == 1
    assert compare(filled, ledger, WINDOW_US, letters=1) == []
