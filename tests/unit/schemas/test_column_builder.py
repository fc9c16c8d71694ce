"""Columns of many events are what their values were, however they were added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from schemas.column_builder import ColumnBuilder
from schemas.columns import values_of
from schemas.event_struct import EVENT_FIELDS, EventStruct
from tests.support.events import event, numbered_id

Add = Callable[[ColumnBuilder, list[tuple[Any, ...]]], None]


def one_by_one(builder: ColumnBuilder, rows: list[tuple[Any, ...]]) -> None:
    for row in rows:
        builder.add(row)


def together(builder: ColumnBuilder, rows: list[tuple[Any, ...]]) -> None:
    builder.add_structs(EventStruct(**dict(zip(EVENT_FIELDS, row, strict=True))) for row in rows)


def in_turn(builder: ColumnBuilder, rows: list[tuple[Any, ...]]) -> None:
    for start in range(0, len(rows), 300):
        one_by_one(builder, rows[start : start + 7])
        together(builder, rows[start + 7 : start + 300])


@pytest.mark.parametrize("add", [one_by_one, together, in_turn])
@pytest.mark.parametrize("count", [1, 999, 1_000, 2_501])
def test_columns_hold_what_was_added(add: Add, count: int) -> None:
    rows = [
        values_of(
            event(
                event_id=numbered_id(n),
                feature=None if n % 3 else f"feature-{n % 400}",
                ttft_s=None if n % 5 == 0 else n / 1e3,
                finish_reasons=["stop"] * (n % 3),
            )
        )
        for n in range(count)
    ]
    builder = ColumnBuilder()
    add(builder, rows)
    arrays = builder.arrays()
    for array in arrays:
        array.validate(full=True)
    found = zip(*(array.to_pylist() for array in arrays), strict=True)
    assert list(map(msgspec.json.encode, found)) == list(map(msgspec.json.encode, rows))


def test_no_events_are_columns_without_values() -> None:
    arrays = ColumnBuilder().arrays()
    assert len(arrays) == len(EVENT_FIELDS)
    assert {len(array) for array in arrays} == {0}
