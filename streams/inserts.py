"""Insert what can be inserted: one row that the store refuses never costs its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from streams.errors import StoreRefusedError

__all__ = ["Columns", "Inserts", "RefusedRow", "Rows", "insert_each", "row_count"]

Columns = Mapping[str, Sequence[Any]]
"""Columns by name, all of one length."""

Rows: TypeAlias = Columns | pa.Table
"""What the store takes: Python's columns, or Arrow's where there are many rows."""


def row_count(rows: Rows) -> int:
    """Return how many rows the columns have."""
    if isinstance(rows, pa.Table):
        return int(rows.num_rows)
    return len(next(iter(rows.values()), ()))


class Inserts(Protocol):
    """What takes rows: the store."""

    async def insert(self, table: str, rows: Rows) -> None:
        """Insert columns; see ``Store.insert``."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that the store will never take: its place among the given ones, and why."""

    index: int
    detail: str


async def insert_each(store: Inserts, table: str, rows: Rows, first: int = 0) -> list[RefusedRow]:
    """Insert columns and return the rows that the store refused; the others are in it.

    A refused insert is halved until the bad rows stand alone: 2 log2(n) inserts for one in n.

    Args:
        store: what takes rows.
        table: where they go.
        rows: columns.
        first: the place of the first row, by which refused ones are told.
    """
    count = row_count(rows)
    if not count:
        return []
    try:
        await store.insert(table, rows)
    except StoreRefusedError as error:
        if count == 1:
            return [RefusedRow(first, str(error))]
        middle = count // 2
        refused = []
        for start, stop in ((0, middle), (middle, count)):
            part = _part(rows, start, stop)
            refused += await insert_each(store, table, part, first + start)
        return refused
    return []


def _part(rows: Rows, start: int, stop: int) -> Rows:
    if isinstance(rows, pa.Table):
        return rows.slice(start, stop - start)
    return {name: column[start:stop] for name, column in rows.items()}
