"""Column inserts and queries at the store, off the event loop, until the store has acknowledged."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import clickhouse_connect
import pyarrow as pa
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.settings import ClickHouseSettings
from streams import metrics
from streams.errors import AbandonedError, StoreRefusedError, StoreUnavailableError
from streams.inserts import Rows, row_count

__all__ = ["Store"]

log = structlog.get_logger(__name__)

# Codes by which ClickHouse says that these very rows are wrong, and no later try will help:
# cannot parse, type mismatch, no such column, unknown type, value out of range, bad cast...
_REFUSALS: Final = frozenset({6, 16, 26, 27, 38, 41, 47, 50, 53, 69, 70, 72, 349, 407, 469, 691})
_INSERT: Final[dict[str, Any]] = {
    "async_insert": 0,  # an acknowledged insert is on disk, not in a buffer
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # Compiling what the views compute takes 0.2 s of CPU once, and makes no insert cheaper.
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
}
_CODE = re.compile(r"(?:code:|Code:|error code)\s*(\d+)", re.IGNORECASE)
_LONGEST_PAUSE_S: Final = 10.0
_LOOK_S: Final = 0.2


class Store:
    """One worker's access to ClickHouse.

    clickhouse-connect's blocking client in one thread of its own: columns are packed there, and
    inserts keep their order.

    Args:
        leaving: tells whether the worker stops or its partitions move, when nothing is tried again.
        may_write: tells whether what is inserted is still this worker's to insert; asked in the
            store's thread, just before rows leave.
    """

    def __init__(
        self,
        settings: ClickHouseSettings,
        leaving: Callable[[], bool] = lambda: False,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings = settings
        self._leaving = leaving
        self._may_write = may_write
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._client: Client | None = None
        self._types: dict[tuple[str, tuple[str, ...]], Any] = {}

    async def warm(self) -> None:
        """Connect before there is work, which takes a tenth of a second; it may fail."""
        with suppress(StoreUnavailableError, StoreRefusedError, AbandonedError):
            await self.query("SELECT 1")

    async def insert(self, table: str, rows: Rows, *, token: str = "") -> None:
        """Insert columns, trying again until the store acknowledges.

        While the store is away nothing returns from here, so the caller takes in nothing more:
        the log keeps what memory need not hold. With a ``token`` an insert that succeeded without
        our hearing of it is not repeated by the next try (insert deduplication).

        Raises:
            StoreRefusedError: the store will never take these rows.
            AbandonedError: it did not take them, and the worker is leaving.
        """
        count = row_count(rows)
        if not count:
            return
        pause = 0.1
        while True:
            started = time.perf_counter()
            try:
                await self._run(self._insert, table, rows, token)
            except StoreUnavailableError as error:
                metrics.INSERT_FAILURES.labels(table=table).inc()
                log.warning("store_unavailable", table=table, rows=count, error=str(error)[:300])
                await self._pause(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
                continue
            metrics.INSERT_SECONDS.labels(table=table).observe(time.perf_counter() - started)
            metrics.ROWS.labels(table=table).inc(count)
            return

    async def query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query with server-side parameters (``{name:Type}``).

        Raises:
            StoreUnavailableError, StoreRefusedError: as the store answered.
            AbandonedError: it is not available, and the worker is leaving.
        """
        try:
            rows: list[tuple[Any, ...]] = await self._run(self._query, sql, parameters)
        except StoreUnavailableError:
            await self._pause(0)
            raise
        return rows

    async def query_arrow(self, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """Return the rows of a query as Arrow columns.

        Raises:
            StoreUnavailableError, StoreRefusedError, AbandonedError: as in ``query``.
        """
        try:
            return await self._run(self._query_arrow, sql, parameters)
        except StoreUnavailableError:
            await self._pause(0)
            raise

    def close(self) -> None:
        """Close the connection, without waiting for what the store may never answer."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    async def _run(self, function: Any, *args: Any) -> Any:
        try:
            work = asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        except RuntimeError as error:  # only after close()
            raise StoreUnavailableError(f"closed: {error}") from None
        return await work

    async def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._leaving() and (left := end - time.monotonic()) > 0:  # noqa: ASYNC110 - a flag
            await asyncio.sleep(min(left, _LOOK_S))
        if self._leaving():
            raise AbandonedError("the store is away, and this worker is leaving")

    def _connect(self) -> Client:
        if self._client is None:
            settings = self._settings
            self._client = clickhouse_connect.get_client(
                host=settings.host,
                port=settings.port,
                username=settings.username,
                password=settings.password.get_secret_value(),
                database=settings.database,
                secure=settings.secure,
                send_receive_timeout=settings.insert_timeout_s,
                query_retries=0,
            )
        return self._client

    def _insert(self, table: str, rows: Rows, token: str) -> None:
        settings = _INSERT | ({"insert_deduplication_token": token} if token else {})
        try:
            client = self._connect()
            self._check_lease()
            if isinstance(rows, pa.Table):
                client.insert_arrow(table, rows, settings=settings)
            else:
                self._insert_columns(client, table, rows, settings)
        except StoreUnavailableError:
            raise
        except Exception as error:
            raise _classified(error) from error

    def _check_lease(self) -> None:
        """Stop rows that may be another worker's by now, as late as that can be done."""
        if not self._may_write():
            raise StoreUnavailableError("the group has not confirmed this worker lately")

    def _insert_columns(
        self, client: Client, table: str, rows: Mapping[str, Sequence[Any]], settings: Any
    ) -> None:
        names = tuple(rows)
        try:
            types = self._types.get((table, names))
            if types is None:
                context = client.create_insert_context(table, column_names=names)
                types = self._types[table, names] = context.column_types
            client.insert(
                table,
                list(rows.values()),
                column_names=names,
                column_types=types,
                column_oriented=True,
                settings=settings,
            )
        except Exception:
            self._types.pop((table, names), None)
            raise

    def _query(self, sql: str, parameters: dict[str, Any] | None) -> list[tuple[Any, ...]]:
        try:
            return list(self._connect().query(sql, parameters=parameters).result_rows)
        except Exception as error:
            raise _classified(error) from error

    def _query_arrow(self, sql: str, parameters: dict[str, Any] | None) -> pa.Table:
        try:
            return self._connect().query_arrow(sql, parameters=parameters)
        except Exception as error:
            raise _classified(error) from error


def _classified(error: Exception) -> StoreRefusedError | StoreUnavailableError:
    match = _CODE.search(str(error))
    code = int(match.group(1)) if match else None
    of_the_rows = isinstance(error, (TypeError, ValueError, OverflowError, AttributeError))
    if code in _REFUSALS or (of_the_rows and not isinstance(error, ClickHouseError)):
        return StoreRefusedError(str(error))
    return StoreUnavailableError(f"{type(error).__name__}: {error}")
