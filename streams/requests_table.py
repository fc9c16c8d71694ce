"""Table ``requests`` and its rollups: each row once in all of them, whoever dies amid an insert.

ClickHouse writes an insert's rows in one step, but the rollups of its materialized views in further
ones. So every insert has a name, and its rows carry it (``insert_writer``, ``insert_number``). The
name is also the deduplication token: an insert repeated under it writes only what is missing. A
worker repeats what was not acknowledged to it; when it is dead, its partitions' next owner finds
the last insert of each writer among the rows and repeats that. docs/adr/0008 says what carries
which case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import structlog
from numpy.typing import NDArray

from streams import metrics
from streams.inserts import RefusedRow, insert_each

__all__ = ["DEDUPLICATED", "Insert", "RequestsStore", "RequestsTable"]

log = structlog.get_logger(__name__)

DEDUPLICATED: Final = 20_000
"""Of how many inserts ClickHouse remembers the tokens, by the tables' settings."""

_DAY_US: Final = 86_400_000_000

_SINCE: Final = """
    SELECT uniqExact(insert_writer, insert_number)
    FROM requests
    WHERE ingested_at >= (
        SELECT min(ingested_at)
        FROM requests
        WHERE toDate(end_time) = {day:Date}
          AND insert_writer = {writer:String}
          AND insert_number = {number:UInt32}
    )
"""

_ROWS: Final = """
    SELECT * EXCEPT (event_id, ingested_at), toString(event_id) AS event_id
    FROM requests
    WHERE toDate(end_time) = {day:Date}
      AND insert_writer = {writer:String}
      AND insert_number = {number:UInt32}
    ORDER BY kafka_partition, kafka_offset, kafka_index
"""


class RequestsStore(Protocol):
    """What takes rows and answers questions: the store."""

    async def insert(self, table: str, rows: pa.Table, *, token: str = "") -> None:
        """Insert columns; see ``Store.insert``."""

    async def query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query; see ``Store.query``."""

    async def query_arrow(self, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """Return the rows of a query as Arrow columns; see ``Store.query_arrow``."""


@dataclass(frozen=True, slots=True)
class Insert:
    """The name of an insert: who made it, its number, and the UTC day of its rows."""

    writer: str
    number: int
    day: str

    @property
    def token(self) -> str:
        """Return the deduplication token."""
        return f"{self.writer}-{self.number}"


class RequestsTable:
    """Inserts rows under names, and finishes inserts that others may have left half done.

    Args:
        store: where the tables are.
        writer: names this process, and no other one ever.
    """

    def __init__(self, store: RequestsStore, writer: str) -> None:
        self._store = store
        self._named = _Named(store, writer)

    async def insert(self, rows: pa.Table) -> list[RefusedRow]:
        """Insert rows and return those that the store will never take; the others are in it.

        A part of the table holds one day, and only a part is written in one step: so each day is
        an insert of its own.

        Raises:
            AbandonedError: the store did not take them all, and the worker is leaving.
        """
        refused = []
        for places in _days(rows):
            day = rows if len(places) == rows.num_rows else rows.take(pa.array(places))
            refused += [
                RefusedRow(int(places[row.index]), row.detail)
                for row in await insert_each(self._named, "requests", day)
            ]
        return refused

    async def finish(self, insert: Insert) -> None:
        """Repeat an insert whose writer may not have lived to hear that it was done.

        Raises:
            StoreUnavailableError, StoreRefusedError, AbandonedError: as in ``Store.insert``.
        """
        parameters = {"writer": insert.writer, "number": insert.number, "day": insert.day}
        ((since,),) = await self._store.query(_SINCE, parameters)
        if since >= DEDUPLICATED // 2:
            # Its token may be forgotten, and rows that come twice are worse than sums too small.
            metrics.INSERTS_IN_DOUBT.inc()
            log.error("insert_in_doubt", token=insert.token, inserts_since=since)
            return
        rows = await self._store.query_arrow(_ROWS, parameters)
        await self._store.insert("requests", rows, token=insert.token)


class _Named:
    """Inserts rows with a new name each time, which they carry and which is their token."""

    def __init__(self, store: RequestsStore, writer: str) -> None:
        self._store = store
        self._writer = writer
        self._number = 0

    async def insert(self, table: str, rows: pa.Table) -> None:
        """Insert columns; see ``Store.insert``."""
        self._number += 1
        count = rows.num_rows
        writer = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [self._writer])
        number = pa.array(np.full(count, self._number, np.uint32))
        named = rows.append_column("insert_writer", writer).append_column("insert_number", number)
        await self._store.insert(table, named, token=f"{self._writer}-{self._number}")


def _days(rows: pa.Table) -> Iterator[NDArray[np.int64]]:
    """Yield the places of each UTC day's rows."""
    if not rows.num_rows:
        return
    ends = rows.column("end_time").cast(pa.int64()).to_numpy()
    days = ends // _DAY_US
    for day in np.unique(days).tolist():
        yield np.flatnonzero(days == day)
