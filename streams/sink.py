"""Topics of decisions and facts to their tables, in column batches, as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pydantic import TypeAdapter, ValidationError

from schemas.action import action_message
from schemas.alert import AlertTransition
from schemas.dead_letter import DeadLetter
from schemas.engine import EngineSample
from schemas.flag import FlagValue
from schemas.signal import Signal
from schemas.topics import Topic, Topics
from streams import metrics
from streams.errors import StoreRefusedError
from streams.rows import columns_of
from streams.store import Store

__all__ = ["SINKS", "Sink", "SinkAgent"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sink:
    """Where one topic's messages go: the table and its columns."""

    topic: Topic
    table: str
    message: TypeAdapter[Any]
    columns: tuple[str, ...]
    placed: bool = True
    """Whether a row carries its place in the log, which tells repeated rows apart."""


SINKS: Final = (
    Sink(
        Topics.SIGNALS,
        "signals",
        TypeAdapter(Signal),
        (
            "signal",
            "labels",
            "over_s",
            "window_end",
            "value",
            "samples",
            "baseline",
            "detector",
            "detail",
        ),
        placed=False,
    ),
    Sink(
        Topics.ALERTS,
        "alerts",
        TypeAdapter(AlertTransition),
        (
            "fingerprint",
            "incident_id",
            "rule",
            "labels",
            "severity",
            "from_phase",
            "to_phase",
            "step",
            "value",
            "samples",
            "reason",
            "at",
        ),
    ),
    Sink(
        Topics.ACTIONS,
        "actions",
        action_message,
        (
            "type",
            "action_id",
            "kind",
            "fingerprint",
            "incident_id",
            "rule",
            "step",
            "labels",
            "status",
            "actuator",
            "executor",
            "recovered",
            "value",
            "reason",
            "evidence",
            "before",
            "after",
            "inverse",
            "at",
        ),
    ),
    Sink(
        Topics.FLAGS,
        "flags",
        TypeAdapter(FlagValue),
        (
            "key",
            "variants",
            "variant",
            "previous_variant",
            "revision",
            "changed_by",
            "reason",
            "at",
        ),
    ),
    Sink(
        Topics.DEAD_LETTER,
        "dead_letters",
        TypeAdapter(DeadLetter),
        (
            "reason",
            "detail",
            "topic",
            "partition",
            "offset",
            "index",
            "payload",
            "payload_size",
            "at",
        ),
    ),
    Sink(
        Topics.ENGINE,
        "engine_samples",
        TypeAdapter(EngineSample),
        (
            "server",
            "engine_index",
            "at",
            "model",
            "running_requests",
            "waiting_requests",
            "kv_cache_usage",
            "prefix_cache_hit_rate",
            "spec_decode_acceptance_rate",
            "gpu_utilization",
        ),
        placed=False,
    ),
)


class SinkAgent:
    """Writes one topic into one table; rows that repeat after a crash replace themselves."""

    def __init__(self, sink: Sink, store: Store, log_id: str) -> None:
        self._sink = sink
        self._store = store
        self._log_id = log_id

    async def run(self, stream: Any) -> None:
        """Process the topic for ever; the Faust agent's body."""
        async for events in stream.noack_take(1_000, within=0.2):
            await self._insert(events)
            for event in events:
                event.ack()

    async def _insert(self, events: Sequence[Any]) -> None:
        sink = self._sink
        messages, places = [], []
        for event in events:
            try:
                messages.append(sink.message.validate_json(event.value or b""))
                places.append(event.message)
            except ValidationError as error:
                # Tocsin writes these topics itself: another version's message, or a stranger's.
                place = (event.message.topic, event.message.partition, event.message.offset)
                log.error("message_refused", place=place, error=str(error)[:500])
        metrics.RECORDS.labels(topic=sink.topic.name).inc(len(events))
        rows = columns_of(messages, sink.columns)
        if sink.placed:
            rows["kafka_log"] = [self._log_id] * len(messages)
            rows["kafka_partition"] = [place.partition for place in places]
            rows["kafka_offset"] = [place.offset for place in places]
        try:
            await self._store.insert(sink.table, rows)
        except StoreRefusedError as error:
            if len(messages) > 1:
                for event in events:
                    await self._insert([event])
            else:
                log.error("row_refused", table=sink.table, error=str(error)[:500])
