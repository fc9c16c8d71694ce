"""Bring a store to the schema of this version; the embedded store and ClickHouse alike.

Safe to run twice and by several workers at once: every statement is idempotent, one worker at a
time holds a claim, and what has been applied is recorded after its last statement.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import clickhouse_connect
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from schemas.clickhouse.claim import claimed
from schemas.clickhouse.migration import Applied, Migration, load_migrations, pending
from schemas.errors import MigrationError
from schemas.settings import ClickHouseSettings

__all__ = ["migrate", "pending_migrations", "store_client"]

log = structlog.get_logger(__name__)

TABLE: Final = "schema_migrations"
_UNKNOWN_DATABASE: Final = 81
_UNKNOWN_TABLE: Final = 60
# Replacing, because a holder of the claim that was thought dead may record a version once more.
_CREATE: Final = f"""
    CREATE TABLE IF NOT EXISTS {TABLE}
    (
        version    UInt32,
        name       String,
        checksum   FixedString(64),
        applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
    )
    ENGINE = ReplacingMergeTree
    ORDER BY version
"""


def migrate(
    settings: ClickHouseSettings, migrations: Sequence[Migration] | None = None
) -> tuple[str, ...]:
    """Apply what the store lacks and return the names of what was applied here.

    Raises:
        MigrationError: the store cannot be reached, is newer than this code, has got another text
            of a migration, or refused a statement (named with its file).
    """
    migrations = load_migrations() if migrations is None else migrations
    with _connected(settings) as server:
        server.command(f"CREATE DATABASE IF NOT EXISTS {settings.database}")
    with _connected(settings, settings.database) as client:
        client.command(_CREATE)
        # Looked at before the claim: a worker that starts on a current store waits for nobody.
        if not pending(migrations, _applied(client)):
            return ()
        done = []
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        with claimed(client, holder) as claim:
            for migration in pending(migrations, _applied(client)):
                for number, statement in enumerate(migration.statements, 1):
                    claim.beat()
                    _apply(client, migration, number, statement)
                _record(client, migration)
                log.info("migration_applied", migration=migration.label)
                done.append(migration.label)
        return tuple(done)


def pending_migrations(
    settings: ClickHouseSettings, migrations: Sequence[Migration] | None = None
) -> tuple[str, ...]:
    """Return the names of what the store lacks; all of them when it has no schema yet.

    Raises:
        MigrationError: as `migrate`.
    """
    migrations = load_migrations() if migrations is None else migrations
    try:
        with _connected(settings, settings.database) as client:
            applied = _applied(client)
    except DatabaseError as error:
        if error.code not in {_UNKNOWN_DATABASE, _UNKNOWN_TABLE}:
            raise
        applied = {}
    return tuple(migration.label for migration in pending(migrations, applied))


def store_client(settings: ClickHouseSettings, database: str | None = None) -> Client:
    """Return a client of the store; of the server's default database when none is named."""
    return clickhouse_connect.get_client(
        host=settings.host,
        port=settings.port,
        username=settings.username,
        password=settings.password.get_secret_value(),
        database=database or "default",
        secure=settings.secure,
        autogenerate_session_id=False,
    )


@contextmanager
def _connected(settings: ClickHouseSettings, database: str | None = None) -> Iterator[Client]:
    try:
        client = store_client(settings, database)
    except DatabaseError as error:
        if error.code == _UNKNOWN_DATABASE:
            raise
        where = f"the store at {settings.host}:{settings.port}"
        if error.code is not None:
            raise MigrationError(f"{where} refused us: {error}") from error
        raise MigrationError(
            f"{where} does not answer; start ClickHouse there, or set TOCSIN_CLICKHOUSE__HOST and "
            "TOCSIN_CLICKHOUSE__PORT"
        ) from error
    try:
        yield client
    finally:
        client.close()


def _applied(client: Client) -> Mapping[int, Applied]:
    rows = client.query(f"SELECT version, name, checksum FROM {TABLE} FINAL").result_rows  # noqa: S608
    return {
        version: Applied(name, checksum.decode() if isinstance(checksum, bytes) else checksum)
        for version, name, checksum in rows
    }


def _record(client: Client, migration: Migration) -> None:
    # Not client.insert, whose first use imports pandas where that is installed: a second or more.
    client.command(
        f"INSERT INTO {TABLE} (version, name, checksum)"  # noqa: S608
        " VALUES ({version:UInt32}, {name:String}, {checksum:String})",
        parameters={
            "version": migration.version,
            "name": migration.name,
            "checksum": migration.checksum,
        },
        settings={"async_insert": 0},
    )


def _apply(client: Client, migration: Migration, number: int, statement: str) -> None:
    # A token makes a statement that fills a table happen once, however often it is tried.
    token = f"{migration.label}-{number}"
    try:
        client.command(statement, settings={"insert_deduplication_token": token})
    except DatabaseError as error:
        first = statement.split("\n", 1)[0][:80]
        raise MigrationError(
            f"{migration.label}.sql, statement {number} ({first}): {error}"
        ) from error
