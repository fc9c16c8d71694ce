"""User feedback, joined to its request by request id in the store, as rows and signals.

The join asks the store because feedback and its request are on different partitions, and minutes
apart: no worker's memory would hold both.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
import structlog
from pydantic import ValidationError

from detectors.closed_window import Window
from detectors.feedback import Feedback
from schemas.base import SCHEMA_VERSION
from schemas.clock import Clock
from schemas.dead_letter import DeadLetter, DeadLetterReason
from schemas.feedback import FeedbackEvent
from schemas.signal import Signal, SignalQuery
from schemas.topics import Topics
from streams import metrics
from streams.app import Hold
from streams.errors import AbandonedError, StoreRefusedError, StoreUnavailableError
from streams.inserts import Inserts, insert_each
from streams.letters import DeadLetters, Publishes
from streams.past import Past
from streams.replay import Queries
from streams.retry import until_done
from streams.rows import columns_of

__all__ = ["FeedbackAgent"]

log = structlog.get_logger(__name__)

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

_PAST: Final = """
    SELECT feedback_id, request_id, toUnixTimestamp64Micro(at), user_id, thumb,
           provider, model, model_version, feature
    FROM feedback
    WHERE matched AND at > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
"""

_PATIENCE_US: Final = 60_000_000
"""How long feedback waits for its request to arrive in the store."""


class _Store(Inserts, Queries, Protocol):
    """Takes rows and answers questions."""


@dataclass(slots=True)
class _Record:
    """One record of the topic, and how many of its events are not recorded yet."""

    event: Any
    open: int = 0


@dataclass(slots=True)
class _Waiting:
    feedback: FeedbackEvent
    record: _Record
    since_us: int


class FeedbackAgent:
    """Joins feedback with requests, keeps what came too early for a minute, counts the rest.

    A record is acknowledged once all of it is in the store, in the log's order.
    """

    def __init__(
        self,
        queries: Sequence[SignalQuery],
        store: _Store,
        publisher: Publishes,
        clock: Clock,
        hold: Hold,
        *,
        future_us: int = 60_000_000,
    ) -> None:
        self._store = store
        self._clock = clock
        self._hold = hold
        self._future_us = future_us
        self._letters = DeadLetters(Topics.FEEDBACK, publisher, clock)
        self._queries: Collection[SignalQuery] = queries
        self._feedback = Feedback(queries)
        self._records: deque[_Record] = deque()
        self._waiting: list[_Waiting] = []
        self._joining = asyncio.Lock()

    async def run(self, stream: Any) -> None:
        """Process ``llm.feedback`` for ever; the Faust agent's body."""
        async for events in stream.noack_take(500, within=0.2):
            for event in events:
                await self._take_in(event)
            metrics.RECORDS.labels(topic=Topics.FEEDBACK.name).inc(len(events))
            self._hold(events)
            await self.join()

    async def assigned(self, owner: bool) -> None:
        """Drop what waits when another worker reads it from now on."""
        if not owner:
            async with self._joining:
                self._records.clear()
                self._waiting.clear()

    async def join(self) -> None:
        """Join what waits; also called by a timer."""
        async with self._joining:
            if self._waiting:
                try:
                    await self._join()
                except (StoreUnavailableError, StoreRefusedError, AbandonedError) as error:
                    log.warning("feedback_waits", error=str(error)[:300])
            while self._records and not self._records[0].open:
                self._records.popleft().event.ack()

    def take_in(self, windows: Sequence[Window]) -> None:
        """Do nothing: thumbs come from ``llm.feedback``."""

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on."""
        self._queries = queries
        self._feedback.reask(queries)

    def forget(self) -> None:
        """Begin anew."""
        self._feedback = Feedback(self._queries)

    async def resume(self, past: Past, first_us: int) -> None:
        """Read the thumbs of the lookbacks, and those that came since."""
        if not self._feedback.longest_us:
            return
        since_us = first_us - 2 * self._feedback.longest_us
        names = ("feedback_id", "request_id", "at_us", *_COLUMNS[3:5])
        for row in await past.rows(_PAST, {"since": since_us}):
            figures: dict[str, Any] = dict(zip(names, row[: len(names)], strict=True))
            event = FeedbackEvent(schema_version=SCHEMA_VERSION, **figures)
            self._feedback.add(event, dict(zip(_LABELS, row[len(names) :], strict=True)))

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return the shares of thumbs up at a window's end."""
        return self._feedback.evaluate(end_us)

    async def _join(self) -> None:
        asked = list(self._waiting)
        ids = sorted({item.feedback.request_id for item in asked})
        found = await self._store.query(_JOIN, {"ids": ids})
        labels = {row[0]: dict(zip(_LABELS, row[1:], strict=True)) for row in found}
        oldest_us = self._clock() - _PATIENCE_US
        ready = [
            item
            for item in asked
            if item.feedback.request_id in labels or item.since_us < oldest_us
        ]
        await self._record(ready, labels)
        for item in ready:
            item.record.open -= 1
        done = set(map(id, ready))
        self._waiting = [item for item in self._waiting if id(item) not in done]

    async def _record(self, items: Sequence[_Waiting], labels: dict[str, dict[str, str]]) -> None:
        events = [item.feedback for item in items]
        rows = columns_of(events, _COLUMNS)
        rows["matched"] = [event.request_id in labels for event in events]
        for name in _LABELS:
            rows[name] = [labels.get(event.request_id, {}).get(name, "") for event in events]
        refused = await insert_each(self._store, "feedback", rows)
        letters = []
        for row in refused:
            message = items[row.index].record.event.message
            place = (message.partition, message.offset, None)
            payload = events[row.index].to_json()
            letters.append(
                self._letters.letter(DeadLetterReason.STORE_REFUSED, row.detail, payload, place)
            )
        await until_done("dead letters", lambda: self._letters.send(letters))
        lost = {row.index for row in refused}
        for i, event in enumerate(events):
            if event.request_id not in labels:
                metrics.FEEDBACK_UNMATCHED.inc()
            elif i not in lost:
                self._feedback.add(event, labels[event.request_id])

    async def _take_in(self, event: Any) -> None:
        now_us = self._clock()
        record = _Record(event)
        self._records.append(record)
        good, letters = self._decode(event, now_us)
        await until_done("dead letters", lambda: self._letters.send(letters))
        record.open = len(good)
        self._waiting.extend(_Waiting(feedback, record, now_us) for feedback in good)

    def _decode(self, event: Any, now_us: int) -> tuple[list[FeedbackEvent], list[DeadLetter]]:
        """Return the events of a record and letters for what is none; neighbours do not suffer."""
        value = event.value or b""
        partition, offset = event.message.partition, event.message.offset

        def refuse(
            reason: DeadLetterReason, detail: str, payload: bytes, index: int | None
        ) -> None:
            place = (partition, offset, index)
            letters.append(self._letters.letter(reason, detail, payload, place))

        good: list[FeedbackEvent] = []
        letters: list[DeadLetter] = []
        try:
            document = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            reason = DeadLetterReason.NOT_JSON if value else DeadLetterReason.EMPTY
            refuse(reason, str(error), value, None)
            return good, letters
        alone = not isinstance(document, list)
        for index, item in enumerate([document] if alone else document):
            payload = value if alone else orjson.dumps(item)
            place = None if alone else index
            try:
                feedback = FeedbackEvent.model_validate_json(payload)
            except ValidationError as error:
                detail = str(error.errors(include_input=False, include_url=False))
                refuse(DeadLetterReason.INVALID_VALUE, detail, payload, place)
                continue
            if feedback.at_us > now_us + self._future_us:
                refuse(DeadLetterReason.TIME_IN_FUTURE, "at_us is in the future", payload, place)
                continue
            good.append(feedback)
        return good, letters
