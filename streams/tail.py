"""The end of ``llm.windows``: up to which offset of each source the windows count its events.

A worker that takes over a partition reads again what was not committed. The rows among it are in
the store, which says so itself; what the windows hold of it, only their own log can say.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Protocol

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.settings import KafkaSettings
from schemas.topics import Topics

__all__ = ["Tail", "WindowsTail"]

_STEP: Final = 500
_FARTHEST: Final = 50_000


class Tail(Protocol):
    """What knows the end of ``llm.windows``."""

    async def up_to(self, sources: Collection[str]) -> dict[str, int]:
        """Return the last offset counted for each source; a source not found is left out."""


class WindowsTail:
    """Reads ``llm.windows`` backwards by a consumer without a group."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def up_to(self, sources: Collection[str]) -> dict[str, int]:
        """Return the last offset counted for each source; a source not found is left out.

        What lies so far back that it is not found was committed long ago.

        Raises:
            KafkaError: the broker does not answer.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka.bootstrap,
            client_id=self._kafka.client_id,
            max_partition_fetch_bytes=16 * 1024 * 1024,
        )
        await consumer.start()
        try:
            return await _read_back(consumer, set(sources))
        finally:
            await consumer.stop()


async def _read_back(consumer: Any, wanted: set[str]) -> dict[str, int]:
    place = TopicPartition(Topics.WINDOWS.name, 0)
    consumer.assign([place])
    first = (await consumer.beginning_offsets([place]))[place]
    end = last = (await consumer.end_offsets([place]))[place]
    found: dict[str, int] = {}
    step = _STEP
    while wanted - found.keys() and end > first and last - end < _FARTHEST:
        start = max(first, end - step)
        found = {**await _read(consumer, place, start, end, wanted), **found}
        end, step = start, step * 4
    return found


async def _read(
    consumer: Any, place: TopicPartition, start: int, end: int, wanted: set[str]
) -> dict[str, int]:
    found: dict[str, int] = {}
    consumer.seek(place, start)
    while await consumer.position(place) < end:
        for record in (await consumer.getmany(place, timeout_ms=500)).get(place, ()):
            source = (record.key or b"").decode(errors="replace")
            if source in wanted and record.offset < end:
                offset = _up_to_offset(record.value)
                if offset is not None:
                    found[source] = max(offset, found.get(source, -1))
    return found


def _up_to_offset(value: bytes | None) -> int | None:
    try:
        offset = orjson.loads(value or b"")["up_to_offset"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    return offset if isinstance(offset, int) else None
