"""Doubles of what stands at the edges of streams: Faust's events, the publisher, the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.base import Message
from schemas.columns import EventColumns
from schemas.event import RequestEvent
from schemas.topics import Topic
from streams.batch import Batch, Origin
from streams.chunk import Chunk
from streams.errors import StoreRefusedError
from streams.inserts import Rows as Inserted

__all__ = ["Log", "LoggedEvent", "Outbox", "Rows", "TailOf", "Turn", "batch_of"]


@dataclass(slots=True)
class LoggedEvent:
    """What Faust hands over: a record, or a chunk of them."""

    value: Any
    message: Any
    acked: int = 0

    def ack(self) -> None:
        """Count an acknowledgement."""
        self.acked += 1


@dataclass(slots=True)
class Log:
    """A partition that records are appended to."""

    topic: str
    partition: int = 0
    offset: int = 0

    def append(self, value: bytes | None) -> LoggedEvent:
        """Return the record with the next offset."""
        place = SimpleNamespace(topic=self.topic, partition=self.partition, offset=self.offset)
        self.offset += 1
        return LoggedEvent(value, place)

    def chunk(self, *values: bytes | None, turn: int = 0) -> LoggedEvent:
        """Return records with the next offsets as one chunk."""
        offsets = list(range(self.offset, self.offset + len(values)))
        self.offset += len(values)
        place = SimpleNamespace(topic=self.topic, partition=self.partition, offset=offsets[-1])
        return LoggedEvent(Chunk(self.partition, offsets, values, turn), place)


def batch_of(events: Sequence[RequestEvent], *places: tuple[int, int]) -> Batch:
    """Return events as a micro-batch; without (partition, offset) places of one partition."""
    rows = [(*place, 0) for place in places or [(0, offset) for offset in range(len(events))]]
    columns = np.array(rows, np.int64).reshape(len(rows), 3).T
    return Batch(EventColumns.from_events(events), Origin("log", "llm.requests", *columns))


@dataclass(slots=True)
class Outbox:
    """A publisher that keeps what it sends; the next ``failures`` sends are refused whole."""

    failures: int = 0
    sent: list[tuple[str, str, Message]] = field(default_factory=list)

    async def send_many(self, topic: Topic, items: Sequence[tuple[str, Message]]) -> list[int]:
        """Keep the messages, or fail."""
        if items and self.failures:
            self.failures -= 1
            raise ConnectionError("the broker is gone")
        first = len(self.sent)
        self.sent += [(topic.name, key, message) for key, message in items]
        return list(range(first, len(self.sent)))

    def of(self, topic: Topic) -> list[Any]:
        """Return the messages of a topic."""
        return [message for name, _, message in self.sent if name == topic.name]


@dataclass(slots=True)
class Rows:
    """A store that keeps rows by table.

    Rows for which ``refuses`` holds are never taken.
    """

    refuses: Callable[[Mapping[str, Any]], bool] = lambda _: False
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    answers: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    arrow: Any = None

    async def insert(self, table: str, rows: Inserted, *, token: str = "") -> None:
        """Keep the rows, all or none."""
        if isinstance(rows, pa.Table):
            new = rows.to_pylist()
        else:
            new = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
        if any(map(self.refuses, new)):
            raise StoreRefusedError("code: 27: cannot parse")
        self.tokens.append(token)
        self.tables.setdefault(table, []).extend(new)

    async def query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Answer by the first known word of the query."""
        self.asked.append(sql)
        return next((rows for word, rows in self.answers.items() if word in sql), [])

    async def query_arrow(self, sql: str, parameters: dict[str, Any] | None = None) -> Any:
        """Answer with the Arrow columns given."""
        self.asked.append(sql)
        return self.arrow


@dataclass(slots=True)
class Turn:
    """The application, as far as ingest and windows ask it."""

    turn: int = 0
    leaving: bool = False
    confirmed: bool = True
    read_to_the_end: bool = True
    backlog: int = 0
    held: list[Any] = field(default_factory=list)

    def hold(self, events: Iterable[Any]) -> None:
        """Note what Faust need not wait for."""
        self.held += events

    def may_write(self) -> bool:
        """Tell whether the group has confirmed this worker."""
        return self.confirmed

    def caught_up(self, partition: int) -> bool:
        """Tell whether the partitions are read to their end."""
        return self.read_to_the_end

    def behind(self) -> int:
        """Return how many records are to be read beyond those in hand."""
        return self.backlog


@dataclass(slots=True)
class TailOf:
    """The end of ``llm.windows`` as a test wants it."""

    counted: dict[str, int] = field(default_factory=dict)

    async def up_to(self, sources: Collection[str]) -> dict[str, int]:
        """Return what is known of the sources."""
        return {name: at for name, at in self.counted.items() if name in sources}
