"""Recorded RequestEvents, JSON lines: read them, and send them at the pace they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.clock import Clock
from schemas.codec import decode_records, encode_batch
from schemas.errors import TocsinError
from schemas.event import RequestEvent, new_event_id
from schemas.kafka_client import kafka_client
from schemas.settings import KafkaSettings
from schemas.topics import Topics
from tocsin.replay.traces import TraceError

__all__ = ["BrokerError", "looks_recorded", "read_events", "send_events", "shifted"]

_LINGER_S: Final = 0.1
_FAR_FUTURE_US: Final = 4_102_444_800_000_000
_MAX_LINE: Final = 64 * 1024 * 1024


class BrokerError(TocsinError):
    """There is no broker to send to."""


def looks_recorded(path: Path) -> bool:
    """Tell whether the first line of a file holds events rather than a trace."""
    with path.open("rb") as file:
        return b'"schema_version"' in file.readline(_MAX_LINE)


def read_events(path: Path) -> list[RequestEvent]:
    """Read events, one or a batch a line, ordered by their end.

    Raises:
        TraceError: a line is not an event; names it and what is wrong.
    """
    with path.open("rb") as file:
        lines = [line for line in (raw.strip() for raw in file) if line]
    decoded = decode_records(lines, now_us=_FAR_FUTURE_US, future_us=0, max_bytes=_MAX_LINE)
    if decoded.refused:
        first = decoded.refused[0]
        raise TraceError(
            f"{path}: line {first.record + 1}: {first.reason.value}: {first.detail}"
            f" ({len(decoded.refused)} such lines)"
        )
    return sorted(decoded.events, key=lambda event: event.end_time_us)


def shifted(event: RequestEvent, by_us: int) -> RequestEvent:
    """Return the event at another time under a new id, so that it counts as another request."""
    return event.model_copy(
        update={
            "event_id": new_event_id(),
            "start_time_us": event.start_time_us + by_us,
            "end_time_us": event.end_time_us + by_us,
        }
    )


async def send_events(
    events: Sequence[RequestEvent], kafka: KafkaSettings, clock: Clock, *, speed: float
) -> AsyncIterator[int]:
    """Send events as if they ended now, ``speed`` times as fast; yield how many are acknowledged.

    Durations stay as they were: only the gaps between requests shrink.

    Raises:
        BrokerError: no broker answers.
    """
    producer = AIOKafkaProducer(**kafka_client(kafka, "replay"), acks="all")
    try:
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            raise BrokerError(
                f"no broker answers at {kafka.bootstrap}: {error}. `tocsin up` starts one and "
                "prints its address; TOCSIN_KAFKA__BOOTSTRAP says where to send"
            ) from error
        begun_us, first_us, sent = clock(), events[0].end_time_us, 0
        for batch in _batches(events, speed):
            due_us = begun_us + round((batch[-1].end_time_us - first_us) / speed)
            await asyncio.sleep(max(0, due_us - clock()) / 1e6)
            moved = [
                shifted(e, begun_us + round((e.end_time_us - first_us) / speed) - e.end_time_us)
                for e in batch
            ]
            key = str(moved[0].event_id).encode()
            await producer.send_and_wait(Topics.REQUESTS.name, encode_batch(moved), key=key)
            sent += len(moved)
            yield sent
    finally:
        await producer.stop()


def _batches(events: Sequence[RequestEvent], speed: float) -> Iterator[list[RequestEvent]]:
    span_us = _LINGER_S * 1e6 * speed
    batch: list[RequestEvent] = []
    for event in events:
        if batch and (event.end_time_us - batch[0].end_time_us > span_us or len(batch) >= 500):
            yield batch
            batch = []
        batch.append(event)
    if batch:
        yield batch
