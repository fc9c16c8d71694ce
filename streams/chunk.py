"""Records of one partition as one fetch gave them, handed over as a whole.

Faust costs 77 us for each message it hands over (docs/adr/0009), so topics of many records come in
chunks: ``streams.transport`` makes them, the agents take them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Chunk", "cut", "records"]

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


def cut(fetched: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    """Yield records in parts of `most` or about 1 MiB, so that what is in hand stays bounded."""
    sizes = [len(record.value or b"") for record in fetched]
    if len(fetched) <= most and sum(sizes) <= _CHUNK_BYTES:
        if fetched:
            yield fetched
        return
    start, size = 0, 0
    for place, length in enumerate(sizes):
        if place - start == most or (place > start and size + length > _CHUNK_BYTES):
            yield fetched[start:place]
            start, size = place, 0
        size += length
    yield fetched[start:]


def records(event: Any) -> Iterator[tuple[int, bytes]]:
    """Yield offset and value of each record that a Faust event brings: its chunk's, or its own."""
    chunk = event.value
    if not isinstance(chunk, Chunk):
        yield event.message.offset, chunk or b""
        return
    for offset, value in zip(chunk.offsets, chunk.values, strict=True):
        yield offset, value or b""
