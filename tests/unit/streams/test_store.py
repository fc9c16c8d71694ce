"""Which failures are worth another try, and when none is made."""

from __future__ import annotations

from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from schemas.settings import ClickHouseSettings
from streams import store as module
from streams.errors import AbandonedError, StoreRefusedError, StoreUnavailableError
from streams.store import Store

SETTINGS = ClickHouseSettings()
ROWS = {"a": [1, 2], "b": ["x", "y"]}


class Client:
    """clickhouse-connect's client; the next ``failures`` inserts raise."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.inserted: list[tuple[str, Any, Any]] = []
        self.contexts = 0
        self.closed = False

    def create_insert_context(self, table: str, column_names: Any) -> Any:
        self.contexts += 1
        return type("Context", (), {"column_types": list(column_names)})

    def insert(self, table: str, data: Any, **options: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.inserted.append((table, data, options["settings"]))

    def close(self) -> None:
        self.closed = True


def store_of(client: Client, monkeypatch: pytest.MonkeyPatch, leaving: bool = False) -> Store:
    monkeypatch.setattr(module.clickhouse_connect, "get_client", lambda **_: client)
    monkeypatch.setattr(module, "_LOOK_S", 0.001)
    return Store(SETTINGS, lambda: leaving)


async def test_columns_go_in_with_their_token(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    store = store_of(client, monkeypatch)
    await store.insert("t", ROWS, token="batch-1")
    await store.insert("t", ROWS)
    await store.insert("t", {"a": []})
    assert [(table, data) for table, data, _ in client.inserted] == [
        ("t", [[1, 2], ["x", "y"]])
    ] * 2
    tokens = [
        (settings or {}).get("insert_deduplication_token") for *_, settings in client.inserted
    ]
    assert tokens == ["batch-1", None]
    assert client.contexts == 1


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("Connection refused"),
        ConnectionResetError("reset by peer"),
        DatabaseError("Code: 241. DB::Exception: Memory limit exceeded"),
        DatabaseError("HTTPDriver returned response code 500"),
        DatabaseError("Code: 60. DB::Exception: Table does not exist"),  # not migrated yet
        TimeoutError("read timed out"),
    ],
)
async def test_what_may_go_well_later_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    client = Client(error, error)
    await store_of(client, monkeypatch).insert("t", ROWS, token="batch-1")
    assert len(client.inserted) == 1


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError("Code: 53. DB::Exception: Type mismatch"),
        DatabaseError("error code 27, cannot parse input"),
        TypeError("'str' object cannot be interpreted as an integer"),
        OverflowError("int too big to convert"),
    ],
)
async def test_what_never_will_is_refused(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with pytest.raises(StoreRefusedError):
        await store_of(Client(error), monkeypatch).insert("t", ROWS)


async def test_a_leaving_worker_tries_once_and_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(*[OperationalError("Connection refused")] * 2)
    with pytest.raises(AbandonedError):
        await store_of(client, monkeypatch, leaving=True).insert("t", ROWS)
    assert len(client.failures) == 1
    await store_of(Client(), monkeypatch, leaving=True).insert("t", ROWS)


async def test_a_query_is_not_tried_again_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    # A client without `query`: an AttributeError, which no later try would mend.
    with pytest.raises(StoreRefusedError):
        await store_of(Client(), monkeypatch).query("SELECT 1")


async def test_after_its_end_it_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    store = store_of(client, monkeypatch)
    await store.insert("t", ROWS)
    store.close()
    assert client.closed
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.query("SELECT 1")
