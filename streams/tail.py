"""The end of ``llm.windows``: up to which offset of each source the windows count its events.

A worker that takes over a partition reads again what was not committed. The rows among it are in
the store, which says so itself; what the windows hold of it, only their own log can say. A new
owner first announces itself there: that message is a fence, behind which nothing of earlier owners
counts (``detectors.merge``), and before which nothing more can come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.settings import KafkaSettings
from schemas.topics import Topics

__all__ = ["Fence", "Tail", "WindowsTail"]

_STEP: Final = 500
_FARTHEST: Final = 50_000


@dataclass(frozen=True, slots=True)
class Fence:
    """An owner's announcement in ``llm.windows``: its epoch, and an offset that holds it."""

    epoch: str
    offset: int


class Tail(Protocol):
    """What knows the end of ``llm.windows``."""

    async def up_to(self, sources: Mapping[str, Fence]) -> dict[str, int]:
        """Return the last offset counted for each source; a source not found is left out."""


class WindowsTail:
    """Reads ``llm.windows`` backwards by a consumer without a group."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def up_to(self, sources: Mapping[str, Fence]) -> dict[str, int]:
        """Return the last offset counted for each source before its fence.

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
            return await _read_back(consumer, sources)
        finally:
            await consumer.stop()


async def _read_back(consumer: Any, sources: Mapping[str, Fence]) -> dict[str, int]:
    place = TopicPartition(Topics.WINDOWS.name, 0)
    consumer.assign([place])
    first = (await consumer.beginning_offsets([place]))[place]
    end = last = max(fence.offset for fence in sources.values()) + 1
    found: dict[str, int] = {}
    step = _STEP
    while sources.keys() - found.keys() and end > first and last - end < _FARTHEST:
        start = max(first, end - step)
        found = {**await _read(consumer, place, range(start, end), sources), **found}
        end, step = start, step * 4
    return found


async def _read(
    consumer: Any, place: TopicPartition, offsets: range, sources: Mapping[str, Fence]
) -> dict[str, int]:
    found: dict[str, int] = {}
    fenced = set()
    consumer.seek(place, offsets.start)
    while await consumer.position(place) < offsets.stop:
        for record in (await consumer.getmany(place, timeout_ms=500)).get(place, ()):
            source = (record.key or b"").decode(errors="replace")
            fence = sources.get(source)
            if fence is None or source in fenced or record.offset >= offsets.stop:
                continue
            epoch, offset = _told(record.value)
            # An announcement whose acknowledgement was lost was sent again: the first one counts.
            if epoch == fence.epoch or record.offset >= fence.offset:
                fenced.add(source)
            elif offset is not None:
                found[source] = max(offset, found.get(source, -1))
    return found


def _told(value: bytes | None) -> tuple[str | None, int | None]:
    """Return a message's epoch and ``up_to_offset``, None for what it does not tell."""
    try:
        message = orjson.loads(value or b"")
        epoch, offset = message.get("epoch"), message.get("up_to_offset")
    except (orjson.JSONDecodeError, AttributeError):
        return None, None
    return epoch, offset if isinstance(offset, int) else None
