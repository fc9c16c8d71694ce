"""Event ids as numbers: 16 bytes each, where a text with its place in a set takes 200."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.codec import ID_HYPHENS, ID_LETTERS, id_letters

__all__ = ["EventIds", "Ids"]

_HEX: Final = np.delete(np.arange(ID_LETTERS), ID_HYPHENS)
_VALUES: Final = np.zeros(256, np.uint8)
_VALUES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


@dataclass(frozen=True, slots=True)
class Ids:
    """UUIDs in some order as the halves of their 128 bits; uint64, shape (n,)."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.low)

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> Ids:
        """Read UUIDs in their canonical form: lower case, with hyphens."""
        return cls._of_letters(np.frombuffer("".join(texts).encode(), np.uint8))

    @classmethod
    def of_column(cls, column: pa.StringArray) -> Ids:
        """Read a column of such UUIDs, all of them known, from its bytes."""
        return cls._of_letters(id_letters(column))

    @classmethod
    def _of_letters(cls, letters: NDArray[np.uint8]) -> Ids:
        digits = _VALUES[np.take(letters.reshape(-1, ID_LETTERS), _HEX, axis=1)]
        octets = np.ascontiguousarray(digits[:, ::2] << 4 | digits[:, 1::2])
        words = octets.view(">u8").astype(np.uint64)
        return cls(words[:, 0].copy(), words[:, 1].copy())

    def take(self, places: NDArray[np.int64]) -> Ids:
        """Return some of them."""
        return Ids(self.high[places], self.low[places])


class EventIds:
    """A set of event ids, sorted by their lower half, which is all but random (RFC 9562)."""

    __slots__ = ("_sorted",)

    def __init__(self, ids: Ids) -> None:
        self._sorted = ids.take(np.argsort(ids.low, kind="stable"))

    def __len__(self) -> int:
        return len(self._sorted)

    def joined(self, other: EventIds) -> EventIds:
        """Return the set of both."""
        mine, its = self._sorted, other._sorted
        return EventIds(
            Ids(np.concatenate((mine.high, its.high)), np.concatenate((mine.low, its.low)))
        )

    def all_differ(self) -> bool:
        """Tell whether surely no id is in it twice: no two lower halves are the same."""
        low = self._sorted.low
        return not bool((low[1:] == low[:-1]).any())

    def meets(self, other: EventIds) -> bool:
        """Tell whether the sets may have an id in common: some lower half is in both."""
        queries, low = self._sorted.low, other._sorted.low
        if not len(low):
            return False
        places = np.minimum(np.searchsorted(low, queries), len(low) - 1)
        return bool((low[places] == queries).any())

    def among(self, ids: Ids) -> NDArray[np.bool_]:
        """Return which ids are in the set; all 128 bits count."""
        held = self._sorted
        firsts = np.searchsorted(held.low, ids.low, side="left")
        counts = np.searchsorted(held.low, ids.low, side="right") - firsts
        found = np.zeros(len(ids), np.bool_)
        for step in range(int(counts.max(initial=0))):  # once, unless lower halves are the same
            left = np.flatnonzero(counts > step)
            found[left] |= held.high[firsts[left] + step] == ids.high[left]
        return found
