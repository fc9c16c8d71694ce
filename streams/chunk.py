"""Records of one partition as one fetch gave them, handed over as a whole.

Faust costs 77 us for each message it hands over (docs/adr/0009), so topics of many records come in
chunks: ``streams.transport`` makes them, the agents take them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.pieces import Piece, without_gaps

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
        return _bytes(self.values)


def cut(pieces: Sequence[Piece], most: int) -> Iterator[tuple[Sequence[int], Sequence[Any]]]:
    """Yield offsets and values of up to `most` records or about 1 MiB: what is in hand is bounded.

    Args:
        pieces: consecutive records of one partition, as they were fetched.
        most: how many records to hand over together.
    """
    if not pieces:
        return
    values = [value for piece in pieces for value in piece.values]
    first, last = pieces[0].offsets[0], pieces[-1].offsets[-1]
    offsets = without_gaps(first, last, len(values)) or [
        offset for piece in pieces for offset in piece.offsets
    ]
    if len(values) <= most and _bytes(values) <= _CHUNK_BYTES:
        yield offsets, values
        return
    start, size = 0, 0
    for place, length in enumerate([len(value or b"") for value in values]):
        if place - start == most or (place > start and size + length > _CHUNK_BYTES):
            yield offsets[start:place], values[start:place]
            start, size = place, 0
        size += length
    yield offsets[start:], values[start:]


def _bytes(values: Iterable[bytes | None]) -> int:
    return sum(map(len, filter(None, values)))


def records(event: Any) -> Iterator[tuple[int, bytes]]:
    """Yield offset and value of each record that a Faust event brings: its chunk's, or its own."""
    chunk = event.value
    if not isinstance(chunk, Chunk):
        yield event.message.offset, chunk or b""
        return
    for offset, value in zip(chunk.offsets, chunk.values, strict=True):
        yield offset, value or b""
