"""The end of ``llm.windows``: up to which offset of each source the windows count its events.

A worker that takes over a partition reads again what was not committed. The rows among it are in
the store, which says so itself; what the windows hold of it, only their own log can say. A new
owner first announces itself there: that message is a fence, behind which nothing of earlier owners
counts (``detectors.merge``), and before which nothing more can come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.kafka_client import kafka_client
from schemas.settings import KafkaSettings
from schemas.topics import Topics

__all__ = ["Fence", "Tail", "WindowsTail"]

_STEP: Final = 500
_FARTHEST: Final = 50_000


@dataclass(frozen=True, slots=True)
class Fence:
    """An owner's announcement in ``llm.windows``: where it stands."""

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
            **kafka_client(self._kafka), max_partition_fetch_bytes=16 * 1024 * 1024
        )
        await consumer.start()
        try:
            return await _read_back(consumer, sources)
        finally:
            await consumer.stop()


@dataclass(frozen=True, slots=True)
class _Said:
    """One message about a source; an announcement has no fence."""

    offset: int
    fence: int | None
    up_to_offset: int | None


async def _read_back(consumer: Any, sources: Mapping[str, Fence]) -> dict[str, int]:
    place = TopicPartition(Topics.WINDOWS.name, 0)
    consumer.assign([place])
    first = (await consumer.beginning_offsets([place]))[place]
    start = last = max(fence.offset for fence in sources.values())
    said: dict[str, list[_Said]] = {source: [] for source in sources}
    step = _STEP
    while start > first and last - start < _FARTHEST:
        older = range(max(first, start - step), start)
        for source, messages in (await _read(consumer, place, older, sources)).items():
            said[source] = messages + said[source]
        start, step = older.start, step * 4
        if all(_counted(messages, start) is not None for messages in said.values()):
            break
    found = {source: _counted(messages, -1) for source, messages in said.items()}
    return {source: offset for source, offset in found.items() if offset is not None}


def _counted(said: Sequence[_Said], start: int) -> int | None:
    """Return the newest offset that windows count, None when what lies before ``start`` decides.

    A message counts unless an announcement stands between its fence and itself, as in
    ``detectors.fences``: what of this was read so far is all that lies behind ``start``.
    """
    announced = [message.offset for message in said if message.fence is None]
    for message in reversed(said):
        if message.fence is None or message.up_to_offset is None:
            continue
        if message.fence < start:
            return None
        if not any(message.fence < offset < message.offset for offset in announced):
            return message.up_to_offset
    return None


async def _read(
    consumer: Any, place: TopicPartition, offsets: range, sources: Mapping[str, Fence]
) -> dict[str, list[_Said]]:
    said: dict[str, list[_Said]] = {source: [] for source in sources}
    consumer.seek(place, offsets.start)
    while await consumer.position(place) < offsets.stop:
        for record in (await consumer.getmany(place, timeout_ms=500)).get(place, ()):
            source = (record.key or b"").decode(errors="replace")
            if source in sources and record.offset < min(offsets.stop, sources[source].offset):
                said[source] += _message(record.offset, record.value)
    return said


def _message(offset: int, value: bytes | None) -> list[_Said]:
    """Return what a message says, nothing for one that cannot be read."""
    try:
        message = orjson.loads(value or b"")
        return [_Said(offset, message.get("fence"), message.get("up_to_offset"))]
    except (orjson.JSONDecodeError, AttributeError):
        return []
