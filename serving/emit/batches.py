"""Turn messages into Kafka records: requests many to a record, samples one to a record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.base import Message
from schemas.engine import EngineSample
from schemas.event import RequestEvent
from schemas.topics import Topics

__all__ = ["Encoded", "Record", "encode", "pack"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One message in its wire form."""

    topic: str
    key: bytes
    value: bytes
    batched: bool


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record and how many messages it holds."""

    topic: str
    key: bytes
    value: bytes
    count: int


def encode(message: Message) -> Encoded:
    """Return a message as it travels.

    Raises:
        TypeError: for a message that a model server has no topic for.
    """
    if isinstance(message, RequestEvent):
        key = str(message.event_id).encode()
        return Encoded(Topics.REQUESTS.name, key, message.to_json(), batched=True)
    if isinstance(message, EngineSample):
        key = message.server.encode()
        return Encoded(Topics.ENGINE.name, key, message.to_json(), batched=False)
    raise TypeError(f"no topic takes a {type(message).__name__} from a model server")


def pack(encoded: Iterable[Encoded], max_events: int, max_bytes: int) -> list[Record]:
    """Return the records for messages, in order.

    Events share a record up to `max_events` and `max_bytes` (of JSON); one that is larger than that
    alone has a record of its own. Its key is the first event's id.
    """
    records: list[Record] = []
    events: list[Encoded] = []
    size = 2

    def close() -> None:
        nonlocal size
        if events:
            value = b"[" + b",".join(event.value for event in events) + b"]"
            records.append(Record(events[0].topic, events[0].key, value, len(events)))
            events.clear()
            size = 2

    for item in encoded:
        if not item.batched:
            records.append(Record(item.topic, item.key, item.value, 1))
            continue
        if len(events) >= max_events or size + len(item.value) + 1 > max_bytes:
            close()
        events.append(item)
        size += len(item.value) + 1
    close()
    return records
