"""One migrating worker at a time, on a store without transactions.

CREATE TABLE without IF NOT EXISTS is the one step of ClickHouse that exactly one of several callers
can win (the others get code 57). The table's comment says who has won and when it was last heard
of, by the store's clock. A holder that has died is passed over after `stale_s`; should it be alive
after all, two workers run statements that are idempotent, each one recorded at most once a version.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from schemas.errors import MigrationError

__all__ = ["Claim", "claimed"]

TABLE: Final = "schema_migrations_claim"
_TABLE_ALREADY_EXISTS: Final = 57
_UNKNOWN_TABLE: Final = 60
_POLL_S: Final = 0.1


class Claim:
    """A claim that is held; `beat` shows that its holder is alive."""

    def __init__(self, client: Client, holder: str) -> None:
        self._client = client
        self._holder = holder

    def beat(self) -> None:
        """Say that the holder is alive, before each statement.

        Raises:
            MigrationError: another worker thought this one dead and took over.
        """
        try:
            self._client.command(f"ALTER TABLE {TABLE} MODIFY COMMENT {_quoted(self._holder)}")
        except DatabaseError as error:
            if error.code == _UNKNOWN_TABLE:
                raise MigrationError(
                    "another worker has taken the migration over from this one; start again"
                ) from error
            raise


@contextmanager
def claimed(
    client: Client,
    holder: str,
    *,
    stale_s: float = 20.0,
    wait_s: float = 120.0,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Claim]:
    """Hold the claim of a database for the time of the block.

    Args:
        client: connected to the database.
        holder: who asks, for the message of those who wait.
        stale_s: silence after which a holder counts as dead.
        wait_s: how long to wait for a living holder.
        sleep: waits some seconds.
        now: monotonic time in seconds.

    Raises:
        MigrationError: a living holder did not finish in time.
    """
    deadline = now() + wait_s
    while not _create(client, holder):
        found = _holder(client)
        if found is not None:
            other, silent_s = found
            if silent_s > stale_s:
                client.command(f"DROP TABLE IF EXISTS {TABLE} SYNC")
                continue
            if now() > deadline:
                raise MigrationError(
                    f"{other} has been migrating the store for {wait_s:g} s; if it is dead, drop "
                    f"the table {TABLE}"
                )
        sleep(_POLL_S)
    try:
        yield Claim(client, holder)
    finally:
        client.command(f"DROP TABLE IF EXISTS {TABLE} SYNC")


def _create(client: Client, holder: str) -> bool:
    query = f"CREATE TABLE {TABLE} (x UInt8) ENGINE = Memory COMMENT {_quoted(holder)}"
    try:
        client.command(query)
    except DatabaseError as error:
        if error.code == _TABLE_ALREADY_EXISTS:
            return False
        raise
    return True


def _holder(client: Client) -> tuple[str, float] | None:
    rows = client.query(
        "SELECT comment, toFloat64(dateDiff('second', metadata_modification_time, now()))"
        " FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
        parameters={"name": TABLE},
    ).result_rows
    return (str(rows[0][0]), float(rows[0][1])) if rows else None


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
