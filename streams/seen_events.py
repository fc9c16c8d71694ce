"""The last event ids taken in, against producers that send one twice."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.event_ids import EventIds, Ids

__all__ = ["SeenEvents"]


class SeenEvents:
    """Remembers event ids in sets of like age, of which the oldest is forgotten whole.

    A new set is joined with younger ones of about its size, so that there are few of them however
    small the batches are, and each id is sorted a few times at most.

    Args:
        capacity: how many ids are remembered at least, once so many came.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity: Final = capacity
        self._largest: Final = max(1, capacity // 4)
        self._taken: list[EventIds] = []  # oldest first
        self._learnt: list[tuple[EventIds, int]] = []
        self._count = 0

    def meets(self, ids: EventIds) -> bool:
        """Tell whether some of the ids may be remembered."""
        return any(ids.meets(held) for held in self._sets())

    def among(self, ids: Ids) -> NDArray[np.bool_]:
        """Return which ids are remembered."""
        found = np.zeros(len(ids), np.bool_)
        for held in self._sets():
            found |= held.among(ids)
        return found

    def remember(self, ids: EventIds) -> None:
        """Remember ids that the store has now."""
        self._count += len(ids)
        taken = self._taken
        while taken and len(taken[-1]) <= min(2 * len(ids), self._largest - len(ids)):
            ids = taken.pop().joined(ids)
        taken.append(ids)
        while sum(map(len, taken[1:])) >= self._capacity:
            del taken[0]
        self._learnt = [(held, until) for held, until in self._learnt if self._count < until]

    def learn(self, ids: Ids) -> None:
        """Remember ids that the store had before, until as many came as are remembered.

        They push none out of those that were taken in here. Who learns the same again, as with each
        rebalance of a quiet log, remembers nothing more.
        """
        new = ids.take(np.flatnonzero(~self.among(ids)))
        if len(new):
            self._learnt.append((EventIds(new), self._count + self._capacity))

    def _sets(self) -> list[EventIds]:
        return [*self._taken, *(held for held, _ in self._learnt)]
