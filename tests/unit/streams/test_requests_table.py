"""Every insert of requests has a name of its own, and its rows carry it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from streams.requests_table import Insert, RequestsTable
from tests.support.streams import Rows

DAY_US = 86_400_000_000


def rows(*days: int) -> pa.Table:
    times = pa.array([day * DAY_US + 5 for day in days], pa.timestamp("us", "UTC"))
    return pa.table({"n": list(range(len(days))), "end_time": times})


def names(store: Rows) -> list[tuple[int, str, int]]:
    found = store.tables.get("requests", [])
    return [(row["n"], row["insert_writer"], row["insert_number"]) for row in found]


async def test_rows_carry_the_name_that_is_their_inserts_token() -> None:
    store = Rows()
    table = RequestsTable(store, "me")
    assert await table.insert(rows(3, 3)) == []
    assert await table.insert(rows(3)) == []
    assert await table.insert(rows()) == []
    assert names(store) == [(0, "me", 1), (1, "me", 1), (0, "me", 2)]
    assert store.tokens == ["me-1", "me-2"]
    assert Insert("me", 2, "1970-01-04").token == "me-2"


async def test_each_day_is_an_insert_of_its_own() -> None:
    """A part holds one day, and only a part is written in one step."""
    store = Rows()
    await RequestsTable(store, "me").insert(rows(4, 3, 4))
    assert names(store) == [(1, "me", 1), (0, "me", 2), (2, "me", 2)]


@pytest.mark.parametrize("bad", [{0}, {5}, {2, 3}, {0, 4, 7}, set(range(8))])
async def test_refused_rows_are_found_and_no_name_is_used_twice(bad: set[int]) -> None:
    store = Rows(refuses=lambda row: row["n"] in bad)
    refused = await RequestsTable(store, "me").insert(rows(3, 3, 3, 3, 4, 4, 4, 4))
    assert {row.index for row in refused} == bad
    found = names(store)
    assert sorted(n for n, *_ in found) == sorted(set(range(8)) - bad)
    assert len(set(store.tokens)) == len(store.tokens)
    assert {f"{writer}-{number}" for _, writer, number in found} == set(store.tokens)


async def test_columns_that_are_taken_apart_keep_their_rows_together() -> None:
    store = Rows(refuses=lambda row: row["n"] == 2)
    table = rows(3, 3, 3).append_column("x", pa.array(np.array([7.0, 8.0, 9.0])))
    (refused,) = await RequestsTable(store, "me").insert(table)
    assert refused.index == 2
    assert [(row["n"], row["x"]) for row in store.tables["requests"]] == [(0, 7.0), (1, 8.0)]
