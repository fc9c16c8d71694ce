"""An insert that a dead worker left half done becomes whole, in the rows and in every rollup."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrate import migrate, store_client
from schemas.columns import EventColumns
from schemas.settings import ClickHouseSettings
from streams.requests_table import Insert, RequestsTable
from streams.rows import event_rows
from streams.store import Store
from tests.contract.conftest import STORE_PASSWORD
from tests.support.events import event, numbered_id
from tests.support.streams import batch_of
from tocsin.embedded.store import StoreAddress

VIEWS = {
    "performance_1m": "performance_1m_view",
    "performance_1h": "performance_1h_view",
    "cost_1h": "cost_1h_view",
}

# What is missing when a view is: with the minutes the hours, which are made of them.
AFTER = {
    "performance_1m": ("performance_1m", "performance_1h"),
    "performance_1h": ("performance_1h",),
    "cost_1h": ("cost_1h",),
}


@pytest.fixture
def settings(store: StoreAddress) -> Iterator[ClickHouseSettings]:
    made = ClickHouseSettings(
        host=store.host, port=store.port, password=STORE_PASSWORD, database="once"
    )
    migrate(made)
    yield made
    with store_client(made, None) as client:
        client.command("DROP DATABASE once")


@pytest.fixture
def client(settings: ClickHouseSettings) -> Iterator[Client]:
    with store_client(settings, settings.database) as client:
        yield client


def sums(client: Client) -> dict[str, Any]:
    counts = {"requests": "SELECT count() FROM requests"}
    counts |= {table: f"SELECT sum(requests) FROM {table}" for table in VIEWS}  # noqa: S608
    return {table: client.query(sql).result_rows[0][0] for table, sql in counts.items()}


def rows(count: int) -> Any:
    events = [event(event_id=numbered_id(i), request_id=f"r{i}") for i in range(count)]
    columns = EventColumns.from_events(events, np.full(count, 1_500, np.int64))
    return event_rows(columns, batch_of(events).origin)


@pytest.mark.parametrize("missing", [*VIEWS, None])
def test_what_is_missing_is_written_and_nothing_twice(
    settings: ClickHouseSettings, client: Client, missing: str | None
) -> None:
    """A rollup whose view is not there at the insert stands for one that the crash forestalled."""
    if missing:
        ((view,),) = client.query(f"SHOW CREATE TABLE {VIEWS[missing]}").result_rows
        client.command(f"DROP TABLE {VIEWS[missing]}")
    store = Store(settings)
    asyncio.run(RequestsTable(store, "dead").insert(rows(10)))
    before = dict.fromkeys((*VIEWS, "requests"), 10)
    assert sums(client) == before | dict.fromkeys(AFTER.get(missing or "", ()), 0)
    if missing:
        client.command(view)
    ((day,),) = client.query("SELECT DISTINCT toString(toDate(end_time)) FROM requests").result_rows
    heir = RequestsTable(store, "heir")
    for _ in range(2):
        asyncio.run(heir.finish(Insert("dead", 1, day)))
        assert sums(client) == before
    ((usd, p95),) = client.query(
        "SELECT sum(cost_usd), any(ttft_p95_s) FROM performance_by_minute"
    ).result_rows
    assert (float(usd), p95) == (pytest.approx(1.5e-5), pytest.approx(0.25, rel=0.011))
    store.close()


def test_what_a_span_does_not_tell_is_null(settings: ClickHouseSettings, client: Client) -> None:
    known = {"event_id": numbered_id(1)}
    unknown = {"event_id": numbered_id(2), "status_code": None, "stream": None}
    broken = {"event_id": numbered_id(3), "status_code": None, "error_type": "timeout"}
    events = [event(**fields) for fields in (known, unknown, broken)]
    rows = event_rows(EventColumns.from_events(events), batch_of(events).origin)
    store = Store(settings)
    asyncio.run(RequestsTable(store, "w").insert(rows))
    store.close()
    found = client.query(
        "SELECT status_code, stream, failed, rejected FROM requests ORDER BY event_id"
    ).result_rows
    assert found == [
        (200, True, False, False),
        (None, None, False, False),
        (None, True, True, False),
    ]
