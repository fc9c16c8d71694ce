"""Chunks of the log to micro-batches that are ready for the store: no I/O, only work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import structlog
from numpy.typing import NDArray

from schemas.clock import Clock
from schemas.codec import Decoded, decode_records
from schemas.dead_letter import DeadLetterReason
from schemas.pricing import PriceBook
from schemas.settings import Settings
from schemas.topics import Topics
from streams import metrics
from streams.batch import Batch, Origin
from streams.chunk import Chunk
from streams.event_ids import EventIds, Ids
from streams.letters import Place
from streams.replay import Known
from streams.rows import event_rows
from streams.seen_events import SeenEvents

__all__ = ["Prepared", "Preparer", "Refusal"]

log = structlog.get_logger(__name__)

_NONE: Final[NDArray[np.int64]] = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What becomes a dead letter: why, and where it stood."""

    reason: DeadLetterReason
    detail: str
    payload: bytes
    place: Place


@dataclass(frozen=True, slots=True)
class Prepared:
    """A micro-batch: events that are no repetition, and what is still to do with each.

    ``new`` are the places in the batch that the store does not hold yet, ``rows`` their rows;
    ``uncounted`` the places that no window counts yet.
    """

    batch: Batch
    ids: EventIds
    new: NDArray[np.int64]
    rows: pa.Table
    uncounted: NDArray[np.int64]
    refusals: Sequence[Refusal]
    records: int


@dataclass(frozen=True, slots=True)
class _Records:
    """Records of some chunks as columns, those of one partition next to each other."""

    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    values: Sequence[bytes | None]

    @classmethod
    def of(cls, chunks: Iterable[Chunk]) -> _Records:
        ordered = sorted(chunks, key=lambda chunk: chunk.partition)
        counts = [len(chunk.offsets) for chunk in ordered]
        return cls(
            np.repeat([chunk.partition for chunk in ordered], counts).astype(np.int64),
            np.concatenate([_NONE, *(_array(chunk.offsets) for chunk in ordered)]),
            [value for chunk in ordered for value in chunk.values],
        )

    def __len__(self) -> int:
        return len(self.values)

    def halves(self) -> tuple[_Records, _Records]:
        middle = len(self) // 2
        low, high = slice(None, middle), slice(middle, None)
        return tuple(  # type: ignore[return-value]
            _Records(self.partitions[part], self.offsets[part], self.values[part])
            for part in (low, high)
        )

    def place(self, record: int, index: int | None) -> Place:
        return int(self.partitions[record]), int(self.offsets[record]), index


class Preparer:
    """Decodes, tells repetitions apart, prices, and packs rows, in columns.

    An event is a repetition when its id was taken in before at another place of the log: in this
    batch, in one that is on its way to the store, or in one of those that the store has.

    One batch is prepared at a time, in whatever thread; what the loop tells meanwhile is noted with
    the next one.
    """

    def __init__(self, settings: Settings, prices: PriceBook, clock: Clock) -> None:
        self._settings = settings
        self._prices = prices
        self._clock = clock
        self._stored = SeenEvents()
        self._under_way: list[EventIds] = []
        self._told: deque[Callable[[], None]] = deque()

    def prepare(self, chunks: Iterable[Chunk], known: Mapping[int, Known]) -> list[Prepared]:
        """Return the chunks' events as micro-batches: one, unless some record is too much for it.

        Should a record be more than the code can take, it alone is refused.

        Args:
            chunks: records in hand.
            known: what was learnt of each of their partitions.
        """
        while self._told:
            self._told.popleft()()
        return self._prepare(_Records.of(chunks), known)

    def learn(self, event_ids: Sequence[str]) -> None:
        """Note ids of events that the store has, whoever took them in."""
        self._told.append(lambda: self._stored.learn(Ids.of_texts(event_ids)))

    def done(self, prepared: Prepared) -> None:
        """Note that the store has a batch."""
        self._told.append(lambda: self._stored.remember(prepared.ids))
        self.forget([prepared])

    def forget(self, prepared: Iterable[Prepared]) -> None:
        """Note that batches were abandoned: their events will be read again."""
        gone = [part.ids for part in prepared]
        self._told.append(lambda: self._leave(gone))

    def _leave(self, gone: Sequence[EventIds]) -> None:
        self._under_way = [ids for ids in self._under_way if not any(ids is one for one in gone)]

    def _prepare(self, records: _Records, known: Mapping[int, Known]) -> list[Prepared]:
        try:
            return [self._whole(records, known)]
        except Exception as error:
            log.exception("batch_fails", records=len(records))
            if len(records) > 1:
                return [part for half in records.halves() for part in self._prepare(half, known)]
            detail = f"{type(error).__name__}; the worker's log says more"
            reason = DeadLetterReason.INTERNAL_ERROR
            refusal = Refusal(reason, detail, records.values[0] or b"", records.place(0, None))
            nothing = replace(records, values=[], partitions=_NONE, offsets=_NONE)
            return [replace(self._whole(nothing, known), refusals=[refusal], records=1)]

    def _whole(self, records: _Records, known: Mapping[int, Known]) -> Prepared:
        streams = self._settings.streams
        decoded = decode_records(
            records.values,
            now_us=self._clock(),
            future_us=round(streams.future_s * 1e6),
            max_bytes=streams.max_record_bytes,
        )
        batch, ids, stored = self._batch(records, decoded, known)
        new = np.flatnonzero(~stored)
        fresh = batch.take(new)
        counted = _by_partition(batch, lambda p, o: known[p].counts(o.offsets))
        self._under_way.append(ids)
        return Prepared(
            batch,
            ids,
            new,
            event_rows(fresh.columns, fresh.origin),
            np.flatnonzero(~counted),
            _refusals(records, decoded, known),
            len(records),
        )

    def _batch(
        self, records: _Records, decoded: Decoded, known: Mapping[int, Known]
    ) -> tuple[Batch, EventIds, NDArray[np.bool_]]:
        """Return the events that are no repetition, their ids, and which of them are stored."""
        columns = decoded.columns
        columns = replace(columns, cost_nano_usd=self._prices.cost_columns(columns))
        origin = Origin(
            self._settings.kafka.log_id,
            Topics.REQUESTS.name,
            records.partitions[decoded.records],
            records.offsets[decoded.records],
            decoded.indexes,
        )
        batch = Batch(columns, origin)
        ids = Ids.of_column(columns.batch.column("event_id"))
        stored = _by_partition(batch, lambda p, o: known[p].holds(o.offsets, o.indexes))
        every = EventIds(ids)
        keep = self._no_repetitions(ids, every, stored)
        if len(keep) < len(ids):
            every = EventIds(ids.take(keep))
        metrics.DUPLICATES.labels(how="event_id").inc(len(stored) - len(keep))
        metrics.DUPLICATES.labels(how="replay").inc(int(stored[keep].sum()))
        return batch.take(keep), every, stored[keep]

    def _no_repetitions(
        self, ids: Ids, every: EventIds, stored: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the places of events that were not taken in before at another place of the log."""
        if (
            every.all_differ()
            and not stored.any()
            and not any(every.meets(under_way) for under_way in self._under_way)
            and not self._stored.meets(every)
        ):
            return np.arange(len(ids))
        again = self._stored.among(ids)
        for under_way in self._under_way:
            again |= under_way.among(ids)
        keep = []
        here: set[tuple[int, int]] = set()
        both = zip(ids.high.tolist(), ids.low.tolist(), strict=True)
        told = zip(both, again.tolist(), stored.tolist(), strict=True)
        for place, (event_id, seen, held) in enumerate(told):
            if held or not (seen or event_id in here):
                keep.append(place)
                here.add(event_id)
        return np.asarray(keep, np.int64)


def _array(offsets: Sequence[int]) -> NDArray[np.int64]:
    if isinstance(offsets, range):  # which NumPy would read number by number
        return np.arange(offsets.start, offsets.stop, dtype=np.int64)
    return np.array(offsets, np.int64)


def _refusals(records: _Records, decoded: Decoded, known: Mapping[int, Known]) -> list[Refusal]:
    refusals = []
    for refused in decoded.refused:
        partition, offset, _ = place = records.place(refused.record, refused.index)
        if not known[partition].letter_sent(offset):
            refusals.append(Refusal(refused.reason, refused.detail, refused.payload, place))
    return refusals


def _by_partition(
    batch: Batch, tell: Callable[[int, Origin], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    parts = [tell(partition, part.origin) for partition, part in batch.by_partition()]
    return np.concatenate(parts) if parts else np.empty(0, np.bool_)
