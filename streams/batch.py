"""A micro-batch of ``llm.requests``: events as columns, with the place of each in the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from schemas.columns import EventColumns
from schemas.event import RequestEvent
from streams.rows import Origin

__all__ = ["Batch", "SeenEvents", "slices"]

_SLICE_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one slice of the log, in its order."""

    events: Sequence[RequestEvent]
    columns: EventColumns
    origin: Origin

    def __len__(self) -> int:
        return len(self.events)

    def select(self, keep: Sequence[int]) -> Batch:
        """Return the batch of some of the events; all of them is this batch."""
        if len(keep) == len(self.events):
            return self
        events = [self.events[i] for i in keep]
        costs = self.columns.cost_nano_usd[list(keep)]
        return Batch(events, EventColumns.from_events(events, costs), self.origin.select(keep))

    @property
    def token(self) -> str:
        """Name the batch by what it holds, so that a repeated insert of it can be told."""
        first, last = self.events[0].event_id, self.events[-1].event_id
        return f"{self.origin.log_id}:{first}:{last}:{len(self.events)}"

    def by_partition(self) -> dict[int, list[int]]:
        """Return the places in the batch that each partition's events take."""
        places: dict[int, list[int]] = {}
        for place, partition in enumerate(self.origin.partitions):
            places.setdefault(partition, []).append(place)
        return places


def slices(records: Sequence[Any]) -> list[list[Any]]:
    """Cut records where their values pass 8 MiB together, so that memory stays bounded."""
    parts: list[list[Any]] = [[]]
    size = 0
    for record in records:
        length = len(record.value or b"")
        if parts[-1] and size + length > _SLICE_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(record)
        size += length
    return parts


class SeenEvents:
    """The last event ids taken in, against producers that send one twice."""

    def __init__(self, capacity: int = 200_000) -> None:
        self._capacity = capacity
        self._ids: OrderedDict[UUID, None] = OrderedDict()

    def __contains__(self, event_id: UUID) -> bool:
        return event_id in self._ids

    def remember(self, ids: Iterable[UUID]) -> None:
        """Remember ids that the store has now; the oldest are forgotten."""
        self._ids.update(dict.fromkeys(ids))
        while len(self._ids) > self._capacity:
            self._ids.popitem(last=False)
