"""The migrator on the real engine: twice, two at once, after a death, on a changed store."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse import claim as claims
from schemas.clickhouse.claim import claimed
from schemas.clickhouse.migrate import migrate, pending_migrations, store_client
from schemas.clickhouse.migration import Migration, load_migrations
from schemas.errors import MigrationError
from schemas.settings import ClickHouseSettings
from tests.contract.conftest import STORE_PASSWORD
from tocsin.embedded.store import StoreAddress


@pytest.fixture
def settings(store: StoreAddress) -> Iterator[ClickHouseSettings]:
    name = f"m_{uuid.uuid4().hex[:12]}"
    made = ClickHouseSettings(
        host=store.host, port=store.port, password=STORE_PASSWORD, database=name
    )
    yield made
    with store_client(made) as client:
        client.command(f"DROP DATABASE IF EXISTS {name} SYNC")


def versions(settings: ClickHouseSettings) -> list[tuple[int, int]]:
    with store_client(settings, settings.database) as client:
        query = "SELECT version, count() FROM schema_migrations GROUP BY version ORDER BY version"
        return [tuple(row) for row in client.query(query).result_rows]


def fill(number: int) -> Migration:
    """A migration that makes a table and puts one row into it."""
    window = "SETTINGS non_replicated_deduplication_window = 10"
    return Migration(
        1,
        "fill",
        "0" * 64,
        (
            f"CREATE TABLE IF NOT EXISTS f (x Int8) ENGINE = MergeTree ORDER BY x {window}",
            f"INSERT INTO f SELECT {number}",
        ),
    )


def test_a_second_run_does_nothing(settings: ClickHouseSettings) -> None:
    names = tuple(migration.label for migration in load_migrations())
    assert pending_migrations(settings) == names
    assert migrate(settings) == names
    before = versions(settings)
    assert migrate(settings) == ()
    assert pending_migrations(settings) == ()
    assert versions(settings) == before == [(i, 1) for i in range(1, len(names) + 1)]


def test_two_processes_at_once_share_the_work(settings: ClickHouseSettings) -> None:
    program = (
        "from schemas.clickhouse.migrate import migrate;"
        "from schemas.settings import ClickHouseSettings;"
        f"s = ClickHouseSettings(host={settings.host!r}, port={settings.port},"
        f" password={STORE_PASSWORD!r}, database={settings.database!r});"
        "print(len(migrate(s)))"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(3)
    ]
    outputs = [racer.communicate(timeout=60)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    done = [int(output.split()[-1]) for output in outputs]
    total = len(load_migrations())
    assert sum(done) == total
    assert versions(settings) == [(i, 1) for i in range(1, total + 1)]
    with store_client(settings, settings.database) as client:
        query = "EXISTS TABLE schema_migrations_claim"
        assert client.query(query).result_rows == [(0,)]


def test_a_changed_file_and_a_newer_store_are_refused(settings: ClickHouseSettings) -> None:
    shipped = load_migrations()
    migrate(settings, shipped)
    changed = (replace(shipped[0], checksum="f" * 64), *shipped[1:])
    for call in (migrate, pending_migrations):
        with pytest.raises(MigrationError, match="has been changed"):
            call(settings, changed)
        with pytest.raises(MigrationError, match="newer"):
            call(settings, shipped[:-1])


def test_a_failure_midway_is_named_and_made_good_by_the_next_run(
    settings: ClickHouseSettings,
) -> None:
    whole = fill(1)
    broken = replace(whole, statements=(*whole.statements, "SELECT broken"))
    with pytest.raises(MigrationError, match=r"001_fill\.sql, statement 3 \(SELECT broken\)"):
        migrate(settings, [broken])
    assert pending_migrations(settings, [whole]) == ("001_fill",)
    assert migrate(settings, [whole]) == ("001_fill",)
    with store_client(settings, settings.database) as client:
        # The row went in with the first run; its token keeps the second from repeating it.
        assert client.query("SELECT x FROM f").result_rows == [(1,)]


def test_a_dead_holder_is_passed_over_and_a_living_one_is_waited_for(
    settings: ClickHouseSettings,
) -> None:
    migrate(settings, [])
    with store_client(settings, settings.database) as client:
        left = f"CREATE TABLE {claims.TABLE} (x UInt8) ENGINE = Memory COMMENT 'process 7'"
        client.command(left)
        time = 0.0

        def sleep(seconds: float) -> None:
            nonlocal time
            time += seconds

        with (
            pytest.raises(MigrationError, match="process 7 has been migrating"),
            claimed(client, "me", wait_s=5, sleep=sleep, now=lambda: time),
        ):
            pass
        assert time >= 5
        with claimed(client, "me", stale_s=-1) as mine:
            mine.beat()
            client.command(f"DROP TABLE {claims.TABLE} SYNC")
            with pytest.raises(MigrationError, match="taken the migration over"):
                mine.beat()


def test_an_unreachable_store_and_a_wrong_password_are_named(
    settings: ClickHouseSettings,
) -> None:
    with pytest.raises(MigrationError, match="does not answer"):
        migrate(settings.model_copy(update={"port": 1}))
    wrong = ClickHouseSettings(host=settings.host, port=settings.port, password="wrong")
    with pytest.raises(MigrationError, match="refused us"):
        migrate(wrong)


def test_the_client_sees_the_database(settings: ClickHouseSettings) -> None:
    migrate(settings, [])
    client: Client = store_client(settings, settings.database)
    assert client.query("SELECT currentDatabase()").result_rows == [(settings.database,)]
    client.close()
