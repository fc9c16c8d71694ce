"""What is known already of records that a partition's new owner reads again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.topics import Topics
from streams.requests_table import Insert
from streams.tail import Fence, Tail

__all__ = ["Finishes", "Known", "Queries", "Replay", "source_name"]

_UP_TO: Final = """
    SELECT kafka_partition, max(kafka_offset)
    FROM requests
    WHERE kafka_log = {log:String}
      AND kafka_topic = {topic:String}
      AND kafka_partition IN {partitions:Array(UInt16)}
    GROUP BY kafka_partition
"""

# An insert is atomic for each day of its rows, and halves of a refused one are inserts of their
# own: so the rows themselves are asked for, not only the highest offset.
_HELD: Final = """
    SELECT kafka_offset, kafka_index, insert_writer, insert_number, toString(toDate(end_time))
    FROM requests
    WHERE kafka_log = {log:String}
      AND kafka_topic = {topic:String}
      AND kafka_partition = {partition:UInt16}
      AND kafka_offset >= {first:UInt64}
"""

_RECENT_EACH: Final = 25_000
"""Ids of events stored lately that are asked for, for each partition."""

# Against producers that send an event twice, with a worker's restart in between.
_RECENT: Final = """
    SELECT event_id
    FROM requests
    WHERE kafka_log = {log:String}
      AND kafka_topic = {topic:String}
      AND kafka_partition IN {partitions:Array(UInt16)}
      AND end_time > now64(6) - INTERVAL 2 DAY
    ORDER BY ingested_at DESC
    LIMIT {most:UInt32}
"""


class Queries(Protocol):
    """What answers questions: the store."""

    async def query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query; see ``Store.query``."""


class Finishes(Protocol):
    """What can make an insert whole: the table of requests."""

    async def finish(self, insert: Insert) -> None:
        """Repeat an insert whose writer may be dead; see ``RequestsTable.finish``."""


@dataclass(slots=True)
class Known:
    """What is known of one partition; offsets are -1 for nothing. Once learnt it stays as it is."""

    stored_up_to: int = -1
    stored: set[tuple[int, int]] = field(default_factory=set)
    counted_up_to: int = -1

    def letter_sent(self, offset: int) -> bool:
        """Tell whether dead letters of this record were sent: they go before any later row."""
        return offset <= self.stored_up_to

    def holds(self, offsets: NDArray[np.int64], indexes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which events the store holds; offsets ascend."""
        count = len(offsets)
        if not count or offsets[0] > self.stored_up_to:
            return np.zeros(count, np.bool_)
        places = zip(offsets.tolist(), indexes.tolist(), strict=True)
        return np.fromiter((place in self.stored for place in places), np.bool_, count)

    def counts(self, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which events the windows count."""
        return offsets <= self.counted_up_to


class Replay:
    """Learns of partitions which of their events are stored, and which of them windows count.

    Both are asked once for each partition that comes to this worker: the store's own record
    decides what is inserted, the end of ``llm.windows`` what is counted. Of each writer of the rows
    that are read again the last insert is made whole: only that one it may not have heard of.
    """

    def __init__(self, log_id: str, store: Queries, table: Finishes, tail: Tail) -> None:
        self._log_id = log_id
        self._store = store
        self._table = table
        self._tail = tail
        self._known: dict[int, Known] = {}

    def unknown(self, partitions: Iterable[int]) -> list[int]:
        """Return those partitions that nothing was learnt about yet."""
        return sorted(set(partitions) - self._known.keys())

    def known(self, partitions: Iterable[int]) -> dict[int, Known]:
        """Return what was learnt of those partitions that have not been forgotten since."""
        return {p: self._known[p] for p in partitions if p in self._known}

    async def learn(self, firsts: Mapping[int, int], fences: Mapping[int, Fence]) -> list[str]:
        """Ask about partitions new to this worker; return the ids of events stored lately.

        Args:
            firsts: the first offset that is about to be processed, by partition.
            fences: where ``llm.windows`` says that the partition is this worker's: what another
                one sends behind it does not count.

        Raises:
            StoreUnavailableError, StoreRefusedError, KafkaError: nothing was learnt.
        """
        new = self.unknown(firsts)
        if not new:
            return []
        parameters = {"log": self._log_id, "topic": Topics.REQUESTS.name, "partitions": new}
        up_to = dict(await self._store.query(_UP_TO, parameters))
        known = {partition: Known(up_to.get(partition, -1)) for partition in new}
        again = [
            partition for partition in new if known[partition].stored_up_to >= firsts[partition]
        ]
        last: dict[str, Insert] = {}
        for partition in again:
            rows = await self._store.query(
                _HELD, parameters | {"partition": partition, "first": firsts[partition]}
            )
            known[partition].stored = {(offset, index) for offset, index, *_ in rows}
            for _, _, writer, number, day in rows:
                if writer and (writer not in last or number > last[writer].number):
                    last[writer] = Insert(writer, number, day)
        for insert in last.values():
            await self._table.finish(insert)
        if again:
            names = {source_name(partition): fences[partition] for partition in again}
            counted = await self._tail.up_to(names)
            for partition in again:
                known[partition].counted_up_to = counted.get(source_name(partition), -1)
        most = {"most": _RECENT_EACH * len(new)}
        recent = await self._store.query(_RECENT, parameters | most) if up_to else []
        self._known |= known
        return [str(event_id) for (event_id,) in recent]

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget partitions that others may read from now on."""
        for partition in partitions:
            self._known.pop(partition, None)


def source_name(partition: int) -> str:
    """Return the name under which a partition's windows are sent."""
    return f"{Topics.REQUESTS.name}-{partition}"
