"""Faust's stream and the edges of the agents, in memory, with failures on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from schemas.base import Message
from schemas.topics import Topic
from streams.errors import StoreRefusedError, StoreUnavailableError
from streams.inserts import Rows

__all__ = ["FakeEvent", "FakePublisher", "FakeStore", "FakeStream", "refuses"]


class FakeEvent:
    """One record as an agent sees it."""

    def __init__(self, value: bytes | None, offset: int = 0, partition: int = 0) -> None:
        self.value = value
        self.message = SimpleNamespace(topic="topic", partition=partition, offset=offset)
        self.acked = 0

    def ack(self) -> None:
        self.acked += 1


class FakeStream:
    """A stream that ends: batches for ``noack_take``, single events for ``events``."""

    def __init__(self, *batches: list[Any]) -> None:
        self._batches = batches

    def noack(self) -> FakeStream:
        return self

    async def noack_take(self, size: int, within: float) -> AsyncIterator[list[Any]]:
        assert size > 0
        assert within > 0
        for batch in self._batches:
            yield batch

    async def events(self) -> AsyncIterator[Any]:
        for batch in self._batches:
            for event in batch:
                yield event


@dataclass
class FakePublisher:
    """Keeps what it is sent; the next ``failures`` sends fail and keep nothing."""

    failures: int = 0
    sent: list[tuple[str, str, Message]] = field(default_factory=list)

    async def send_many(self, topic: Topic, items: Sequence[tuple[str, Message]]) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no broker")
        self.sent += [(topic.name, key, message) for key, message in items]

    def on(self, topic: Topic) -> list[Any]:
        return [message for name, _, message in self.sent if name == topic.name]


def _takes_all(_rows: Rows) -> None:
    """Refuse nothing."""


@dataclass
class FakeStore:
    """Keeps rows as dictionaries; ``check`` may refuse an insert, ``away`` fails every query."""

    check: Callable[[Rows], None] = _takes_all
    answers: list[tuple[Any, ...]] = field(default_factory=list)
    away: bool = False
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    asked: list[dict[str, Any] | None] = field(default_factory=list)

    async def insert(self, table: str, rows: Rows, *, token: str = "") -> None:
        assert isinstance(token, str)
        self.check(rows)
        made = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
        self.tables.setdefault(table, []).extend(made)

    async def query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        assert "SELECT" in sql
        self.asked.append(parameters)
        if self.away:
            raise StoreUnavailableError("no store")
        return list(self.answers)


def refuses(column: str, bad: Any) -> Callable[[Rows], None]:
    """Return a check that refuses every insert with this value in this column."""

    def check(rows: Rows) -> None:
        if bad in rows[column]:
            raise StoreRefusedError(f"{column} {bad} is refused")

    return check
