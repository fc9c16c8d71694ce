"""Records of one partition as one fetch gave them, handed over as a whole.

Faust costs 77 us for each message it hands over (docs/adr/0007), so ``llm.requests`` comes in
chunks: ``streams.transport`` makes them, the ingest agent takes them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Chunk", "cut"]

_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Chunk:
    """Values of consecutive records, oldest first, with their offsets.

    ``turn`` names the assignment that they were fetched under: after a rebalance what is left of
    an older turn is stale, for its offsets are fetched again.
    """

    partition: int
    offsets: Sequence[int]
    values: Sequence[bytes | None]
    turn: int = 0

    def release(self) -> None:
        """Drop the values: what is left waits for its acknowledgement, and need not hold memory."""
        self.values = ()

    @property
    def size(self) -> int:
        """Return the bytes of all values."""
        return sum(map(len, filter(None, self.values)))


def cut(records: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield fetched records in parts of about 1 MiB, so that what is in hand stays bounded."""
    sizes = [len(record.value or b"") for record in records]
    if sum(sizes) <= _CHUNK_BYTES:
        if records:
            yield records
        return
    start, size = 0, 0
    for place, length in enumerate(sizes):
        if place > start and size + length > _CHUNK_BYTES:
            yield records[start:place]
            start, size = place, 0
        size += length
    yield records[start:]
