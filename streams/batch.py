"""A micro-batch of ``llm.requests``: events as columns, with the place of each in the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.columns import EventColumns

__all__ = ["Batch", "Origin", "SeenEvents"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where events stood in the log; arrays of int64, shape (n,)."""

    log_id: str
    topic: str
    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    indexes: NDArray[np.int64]

    def take(self, places: NDArray[np.int64] | slice) -> Origin:
        """Return the origins of some events."""
        return Origin(
            self.log_id,
            self.topic,
            self.partitions[places],
            self.offsets[places],
            self.indexes[places],
        )

    def place(self, number: int) -> tuple[int, int, int]:
        """Return partition, offset and index of one event."""
        at = (self.partitions, self.offsets, self.indexes)
        return tuple(int(column[number]) for column in at)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in the order of the log, those of one partition next to each other."""

    columns: EventColumns
    origin: Origin
    event_ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.columns)

    def take(self, places: NDArray[np.int64]) -> Batch:
        """Return the batch of some of the events; all of them is this batch."""
        if len(places) == len(self):
            return self
        ids = [self.event_ids[place] for place in places.tolist()]
        return Batch(self.columns.take(places), self.origin.take(places), ids)

    def by_partition(self) -> Iterator[tuple[int, Batch]]:
        """Yield each partition's part, without copying."""
        if not len(self):
            return
        partitions = self.origin.partitions
        firsts = np.flatnonzero(np.diff(partitions, prepend=-1)).tolist()
        for start, stop in zip(firsts, [*firsts[1:], len(self)], strict=True):
            part = Batch(
                self.columns.slice(start, stop),
                self.origin.take(slice(start, stop)),
                self.event_ids[start:stop],
            )
            yield int(partitions[start]), part


class SeenEvents:
    """The last event ids taken in, against producers that send one twice.

    Two sets, of which the older is forgotten whole: no bookkeeping for each id.

    Args:
        capacity: how many ids are remembered at least, once so many came.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity: Final = capacity
        self._newer: set[str] = set()
        self._older: set[str] = set()

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._newer or event_id in self._older

    def none_of(self, ids: AbstractSet[str]) -> bool:
        """Tell whether no id is remembered."""
        return self._newer.isdisjoint(ids) and self._older.isdisjoint(ids)

    def remember(self, ids: Iterable[str]) -> None:
        """Remember ids that the store has now."""
        self._newer.update(ids)
        if len(self._newer) >= self._capacity:
            self._older, self._newer = self._newer, set()

    def learn(self, ids: Iterable[str]) -> None:
        """Remember ids that the store had before: beside those taken in, of which none goes."""
        self._older.update(ids)
