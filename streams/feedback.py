"""User feedback, joined to its request by request id in the store, as rows and signals.

The join asks the store because feedback and its request are on different partitions, and minutes
apart: no worker's memory would hold both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pydantic import TypeAdapter, ValidationError

from detectors.closed_window import Window
from detectors.feedback import Feedback
from schemas.base import SCHEMA_VERSION
from schemas.clock import Clock
from schemas.dead_letter import MAX_PAYLOAD_BYTES, DeadLetter, DeadLetterReason
from schemas.feedback import FeedbackEvent
from schemas.signal import Signal, SignalQuery
from schemas.topics import Topics
from streams import metrics
from streams.errors import StoreRefusedError, StoreUnavailableError
from streams.publish import Publisher
from streams.rows import columns_of
from streams.store import Store

__all__ = ["FeedbackAgent"]

log = structlog.get_logger(__name__)

_one_or_many: Final[TypeAdapter[FeedbackEvent | list[FeedbackEvent]]] = TypeAdapter(
    FeedbackEvent | list[FeedbackEvent]
)

_LABELS: Final = ("provider", "model", "model_version", "feature")
_COLUMNS: Final = (
    "feedback_id",
    "request_id",
    "at",
    "user_id",
    "thumb",
    "correction_redacted",
)

_JOIN: Final = """
    SELECT request_id, provider, model, model_version, ifNull(feature, '')
    FROM requests
    WHERE request_id IN {ids:Array(String)}
"""

_PATIENCE_US: Final = 60_000_000
"""How long feedback waits for its request to arrive in the store."""


@dataclass(slots=True)
class _Waiting:
    event: FeedbackEvent
    since_us: int


class FeedbackAgent:
    """Joins feedback with requests, keeps what came too early for a minute, counts the rest."""

    def __init__(
        self,
        queries: Sequence[SignalQuery],
        store: Store,
        publisher: Publisher,
        clock: Clock,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._feedback = Feedback(queries)
        self._waiting: deque[_Waiting] = deque()

    async def run(self, stream: Any) -> None:
        """Process ``llm.feedback`` for ever; the Faust agent's body."""
        async for events in stream.noack_take(500, within=0.2):
            for event in events:
                await self._take_in(event)
            await self.join()
            for event in events:
                event.ack()

    async def join(self) -> None:
        """Join what waits; also called by a timer."""
        if not self._waiting:
            return
        ids = sorted({waiting.event.request_id for waiting in self._waiting})
        try:
            found = await self._store.query(_JOIN, {"ids": ids})
        except (StoreUnavailableError, StoreRefusedError) as error:
            log.warning("feedback_waits", error=str(error)[:300])
            return
        labels = {row[0]: dict(zip(_LABELS, row[1:], strict=True)) for row in found}
        oldest_us = self._clock() - _PATIENCE_US
        done: list[_Waiting] = []
        waiting: deque[_Waiting] = deque()
        for item in self._waiting:
            known = item.event.request_id in labels
            (done if known or item.since_us < oldest_us else waiting).append(item)
        self._waiting = waiting
        await self._record([item.event for item in done], labels)

    def take_in(self, windows: Sequence[Window]) -> None:
        """Do nothing: thumbs come from ``llm.feedback``."""

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return the shares of thumbs up at a window's end."""
        return self._feedback.evaluate(end_us)

    async def _record(
        self, events: Sequence[FeedbackEvent], labels: dict[str, dict[str, str]]
    ) -> None:
        if not events:
            return
        rows = columns_of(events, _COLUMNS)
        rows["matched"] = [event.request_id in labels for event in events]
        for name in _LABELS:
            rows[name] = [labels.get(event.request_id, {}).get(name, "") for event in events]
        await self._store.insert("feedback", rows)
        for event in events:
            if event.request_id in labels:
                self._feedback.add(event, labels[event.request_id])
            else:
                metrics.FEEDBACK_UNMATCHED.inc()

    async def _take_in(self, event: Any) -> None:
        now_us = self._clock()
        try:
            parsed = _one_or_many.validate_json(event.value or b"")
        except ValidationError as error:
            message = event.message
            letter = DeadLetter.model_construct(
                schema_version=SCHEMA_VERSION,
                reason=DeadLetterReason.INVALID_VALUE,
                detail=str(error.errors(include_input=False, include_url=False))[:2_000],
                topic=Topics.FEEDBACK.name,
                partition=message.partition,
                offset=message.offset,
                payload=(event.value or b"")[:MAX_PAYLOAD_BYTES],
                payload_size=len(event.value or b""),
                at_us=now_us,
            )
            await self._publisher.send(Topics.DEAD_LETTER, letter.topic, letter)
            metrics.DEAD_LETTERS.labels(reason=letter.reason.value).inc()
            return
        events = parsed if isinstance(parsed, list) else [parsed]
        self._waiting.extend(_Waiting(item, now_us) for item in events)
