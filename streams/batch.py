"""A micro-batch of ``llm.requests``: events as columns, with the place of each in the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.columns import EventColumns

__all__ = ["Batch", "Origin"]


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

    def __len__(self) -> int:
        return len(self.columns)

    def take(self, places: NDArray[np.int64]) -> Batch:
        """Return the batch of some of the events; all of them is this batch."""
        if len(places) == len(self):
            return self
        return Batch(self.columns.take(places), self.origin.take(places))

    def by_partition(self) -> Iterator[tuple[int, Batch]]:
        """Yield each partition's part, without copying."""
        if not len(self):
            return
        partitions = self.origin.partitions
        firsts = np.flatnonzero(np.diff(partitions, prepend=-1)).tolist()
        for start, stop in zip(firsts, [*firsts[1:], len(self)], strict=True):
            part = Batch(self.columns.slice(start, stop), self.origin.take(slice(start, stop)))
            yield int(partitions[start]), part
