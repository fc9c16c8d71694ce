"""Fetched records of topics that go in chunks: offsets and values, no object for each record.

aiokafka makes a ``ConsumerRecord`` of each record and hands it through two generators. That costs
as much as decoding it, and of all of it only offsets and values are ever looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import CorruptRecordException

__all__ = ["Piece", "take_in_pieces", "without_gaps"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Records of one batch of the log, oldest first; ``timestamp`` (ms) is that of the last."""

    offsets: Sequence[int]
    values: Sequence[bytes | None]
    timestamp: int


def take_in_pieces(fetcher: Any, topics: Collection[str]) -> None:
    """Let an aiokafka ``Fetcher`` hand over pieces instead of records, of these topics."""
    process = fetcher._proc_fetch_request  # noqa: SLF001 - aiokafka has no setting for it

    async def processed(assignment: Any, node_id: Any, request: Any) -> Any:
        has_news = await process(assignment, node_id, request)
        # Nobody has looked at what it left since: there was no await.
        for tp, result in fetcher._records.items():  # noqa: SLF001
            records = getattr(result, "_partition_records", None)  # an error has none
            if tp.topic in topics and records is not None and not isinstance(records, _Pieces):
                result._partition_records = _Pieces(records)  # noqa: SLF001
        return has_news

    fetcher._proc_fetch_request = processed  # noqa: SLF001


class _Pieces:
    """Stands in for aiokafka's ``PartitionRecords``: iterates over pieces and knows what is next.

    Transactions are not looked at: Faust reads uncommitted records.
    """

    def __init__(self, records: Any) -> None:
        self.next_fetch_offset: int = records.next_fetch_offset
        self._check_crcs = records._check_crcs  # noqa: SLF001
        self._place = records._tp  # noqa: SLF001
        self._batches = records._records  # noqa: SLF001
        self._left = self._pieces()
        records._records_iterator = None  # noqa: SLF001 - or the two keep each other, and bytes

    def __iter__(self) -> Iterator[Piece]:
        return self

    def __next__(self) -> Piece:
        return next(self._left)

    def _pieces(self) -> Iterator[Piece]:
        while self._batches.has_next():
            batch = self._batches.next_batch()
            if self._check_crcs and not batch.validate_crc():
                raise CorruptRecordException(f"Invalid CRC - {self._place}")
            piece = None if batch.is_control_batch else self._piece(batch)
            # Compaction may have removed its last records: the batch itself knows its end.
            self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)
            if piece:
                yield piece

    def _piece(self, batch: Any) -> Piece | None:
        """Return a batch's records; a fetch begins with the batch that holds its offset."""
        records = list(batch)
        if records and records[0].offset < self.next_fetch_offset:
            records = [record for record in records if record.offset >= self.next_fetch_offset]
        if not records:
            return None
        offsets = without_gaps(records[0].offset, records[-1].offset, len(records))
        return Piece(
            offsets or [record.offset for record in records],
            [record.value for record in records],
            records[-1].timestamp,
        )


def without_gaps(first: int, last: int, count: int) -> range | None:
    """Return `count` offsets as a range, unless compaction or a transaction left gaps."""
    offsets = range(first, last + 1)
    return offsets if len(offsets) == count else None
