"""What is known already of records that a partition's new owner reads again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

from schemas.topics import Topics
from streams.tail import Tail

__all__ = ["Queries", "Replay", "source_name"]

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
    SELECT kafka_partition, kafka_offset, kafka_index
    FROM requests
    WHERE kafka_log = {log:String}
      AND kafka_topic = {topic:String}
      AND kafka_partition = {partition:UInt16}
      AND kafka_offset >= {first:UInt64}
"""

# Against producers that send an event twice, with a worker's restart in between.
_RECENT: Final = """
    SELECT event_id
    FROM requests
    WHERE kafka_log = {log:String}
      AND kafka_topic = {topic:String}
      AND kafka_partition IN {partitions:Array(UInt16)}
      AND end_time > now64(6) - INTERVAL 2 DAY
    ORDER BY ingested_at DESC
    LIMIT 100000
"""


class Queries(Protocol):
    """What answers questions: the store."""

    async def query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query; see ``Store.query``."""


@dataclass(slots=True)
class _Known:
    """What is known of one partition; offsets are -1 for nothing."""

    stored_up_to: int = -1
    stored: set[tuple[int, int]] = field(default_factory=set)
    counted_up_to: int = -1


class Replay:
    """Tells for each event of a partition whether it is stored, and whether windows count it.

    Both are asked once for each partition that comes to this worker: the store's own record
    decides what is inserted, the end of ``llm.windows`` what is counted.
    """

    def __init__(self, log_id: str, store: Queries, tail: Tail) -> None:
        self._log_id = log_id
        self._store = store
        self._tail = tail
        self._known: dict[int, _Known] = {}

    async def learn(self, firsts: Mapping[int, int]) -> list[UUID]:
        """Ask about partitions new to this worker; return the ids of events stored lately.

        Args:
            firsts: the first offset that is about to be processed, by partition.

        Raises:
            StoreUnavailableError, StoreRefusedError, KafkaError: nothing was learnt.
        """
        new = sorted(firsts.keys() - self._known.keys())
        if not new:
            return []
        parameters = {"log": self._log_id, "topic": Topics.REQUESTS.name, "partitions": new}
        up_to = dict(await self._store.query(_UP_TO, parameters))
        known = {partition: _Known(up_to.get(partition, -1)) for partition in new}
        again = [
            partition for partition in new if known[partition].stored_up_to >= firsts[partition]
        ]
        for partition in again:
            rows = await self._store.query(
                _HELD, parameters | {"partition": partition, "first": firsts[partition]}
            )
            known[partition].stored = {(offset, index) for _, offset, index in rows}
        if again:
            counted = await self._tail.up_to([source_name(partition) for partition in again])
            for partition in again:
                known[partition].counted_up_to = counted.get(source_name(partition), -1)
        recent = await self._store.query(_RECENT, parameters) if up_to else []
        self._known |= known
        return [event_id for (event_id,) in recent]

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget partitions that others may read from now on."""
        for partition in partitions:
            self._known.pop(partition, None)

    def letter_sent(self, partition: int, offset: int) -> bool:
        """Tell whether dead letters of this record were sent: they go before any later row."""
        return offset <= self._known[partition].stored_up_to

    def stored(self, partition: int, offset: int, index: int) -> bool:
        """Tell whether the store holds an event."""
        known = self._known[partition]
        return offset <= known.stored_up_to and (offset, index) in known.stored

    def counted(self, partition: int, offset: int) -> bool:
        """Tell whether windows count a record's events."""
        return offset <= self._known[partition].counted_up_to


def source_name(partition: int) -> str:
    """Return the name under which a partition's windows are sent."""
    return f"{Topics.REQUESTS.name}-{partition}"
