"""Topics of decisions and facts to their tables, in column batches, as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pydantic import TypeAdapter, ValidationError

from schemas.action import action_message
from schemas.alert import AlertTransition
from schemas.command import command_message
from schemas.dead_letter import DeadLetter
from schemas.engine import EngineSample
from schemas.flag import FlagValue
from schemas.signal import Signal
from schemas.topics import Topic, Topics
from streams import metrics
from streams.app import Hold
from streams.chunk import records
from streams.errors import AbandonedError
from streams.inserts import Inserts, insert_each
from streams.refused import refused
from streams.rows import columns_of

__all__ = ["SINKS", "Sink", "SinkAgent"]

_WITHIN_S: Final = 0.2

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
            "mode",
            "proposal",
            "does",
            "approvers",
            "expires",
            "by",
            "command_id",
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
        Topics.COMMANDS,
        "commands",
        command_message,
        (
            "type",
            "command_id",
            "subject",
            "incident_id",
            "by",
            "via",
            "reason",
            "matchers",
            "starts",
            "ends",
            "mutes_actions",
            "approve",
            "proposal",
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

    def __init__(
        self, sink: Sink, store: Inserts, log_id: str, hold: Hold, most: int = 1_000
    ) -> None:
        self._sink = sink
        self._store = store
        self._log_id = log_id
        self._hold = hold
        self._most = most

    async def run(self, stream: Any) -> None:
        """Process the topic for ever; the Faust agent's body."""
        async for events in stream.noack_take(self._most, within=_WITHIN_S):
            messages = [
                (event.message.partition, offset, value)
                for event in events
                for offset, value in records(event)
            ]
            try:
                await self._insert(messages)
            except AbandonedError:
                self._hold(events)
                continue
            except Exception:
                # Tocsin made these messages: a fault of ours must not stop the decisions behind.
                metrics.REFUSED.labels(topic=self._sink.topic.name).inc(len(messages))
                log.exception("sink_fails", table=self._sink.table, messages=len(messages))
            metrics.RECORDS.labels(topic=self._sink.topic.name).inc(len(messages))
            for event in events:
                event.ack()

    async def _insert(self, found: Sequence[tuple[int, int, bytes]]) -> None:
        sink = self._sink
        messages, places = [], []
        for partition, offset, value in found:
            try:
                messages.append(sink.message.validate_json(value))
                places.append((partition, offset))
            except ValidationError as error:
                refused(sink.topic, offset, str(error), partition=partition)
        rows = columns_of(messages, sink.columns)
        if sink.placed:
            rows["kafka_log"] = [self._log_id] * len(messages)
            rows["kafka_partition"] = [partition for partition, _ in places]
            rows["kafka_offset"] = [offset for _, offset in places]
        for row in await insert_each(self._store, sink.table, rows):
            partition, offset = places[row.index]
            refused(sink.topic, offset, row.detail, partition=partition)
