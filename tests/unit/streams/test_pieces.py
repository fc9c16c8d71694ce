"""Fetched batches as offsets and values, by aiokafka's own reading and writing of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, FetchError, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from streams.pieces import Piece, take_in_pieces

CHUNKED, OTHER = TopicPartition("chunked", 0), TopicPartition("other", 0)


def batch(base: int, values: Mapping[int, bytes | None], compression: int = 0) -> bytearray:
    """Return a batch as the log has it: values by their offsets behind the first one."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )
    for offset, value in values.items():
        builder.append(offset, timestamp=1_000 + offset, key=b"k", value=value, headers=[])
    built = bytearray(builder.build())
    built[:8] = base.to_bytes(8, "big")  # which the checksum leaves out
    return built


def control(base: int) -> bytearray:
    """Return a batch that marks a transaction's end, which is no record."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, 7, 0, 0, 1 << 20)
    builder.append(0, timestamp=0, key=b"\x00\x00\x00\x01", value=b"\x00" * 6, headers=[])
    built = bytearray(builder.build())
    built[:8] = base.to_bytes(8, "big")
    built[22] |= 1 << 5
    built[17:21] = calc_crc32c(bytes(built[21:])).to_bytes(4, "big")
    return built


class State:
    """Where a partition is read."""

    paused = False

    def __init__(self, position: int) -> None:
        self.position = position

    def consumed_to(self, position: int) -> None:
        self.position = position


class Fetcher:
    """aiokafka's, with what a broker would answer."""

    def __init__(self, *batches: bytes, at: int = 0, check_crcs: bool = True) -> None:
        self.state = State(at)
        self._records: dict[TopicPartition, Any] = {}
        self._answer = b"".join(batches)
        self._check_crcs = check_crcs

    async def _proc_fetch_request(self, *_: Any) -> bool:
        assignment = SimpleNamespace(active=True, state_value=lambda _: self.state)
        for tp in (CHUNKED, OTHER):
            memory = MemoryRecords(self._answer)
            at = self.state.position
            crcs = self._check_crcs
            records = PartitionRecords(tp, memory, [], at, None, None, crcs, READ_UNCOMMITTED)
            self._records[tp] = FetchResult(
                tp, assignment=assignment, partition_records=records, backoff=0
            )
        return True

    def take(self, tp: TopicPartition = CHUNKED) -> list[Any]:
        return self._records[tp].getall()  # type: ignore[no-any-return]


async def fetched(*batches: bytes, at: int = 0, check_crcs: bool = True) -> Fetcher:
    fetcher = Fetcher(*batches, at=at, check_crcs=check_crcs)
    take_in_pieces(fetcher, {CHUNKED.topic})
    assert await fetcher._proc_fetch_request(None, 0, None)
    return fetcher


def as_read_by_aiokafka(records: Sequence[Any]) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) for record in records]


def as_read(pieces: Sequence[Piece]) -> list[tuple[int, bytes | None]]:
    return [pair for piece in pieces for pair in zip(piece.offsets, piece.values, strict=True)]


async def test_a_piece_is_a_batch_of_the_log() -> None:
    fetcher = await fetched(batch(5, {0: b"a", 1: None}), batch(7, {0: b"c"}, compression=1))
    assert fetcher.take() == [
        Piece(range(5, 7), [b"a", None], 1_001),
        Piece(range(7, 8), [b"c"], 1_000),
    ]
    assert fetcher.state.position == 8
    assert not fetcher._records[CHUNKED].has_more()


async def test_they_hold_what_aiokafka_reads_of_the_same_bytes() -> None:
    first, mark, last = (
        batch(3, {0: b"a", 2: b"b"}),
        control(6),
        batch(9, {0: b"c", 1: b"", 5: b"e"}),
    )
    for at in range(15):
        # A broker begins with the batch that holds the offset.
        fetcher = await fetched(*[first] * (at < 6), *[mark] * (at < 7), last, at=at)
        theirs = as_read_by_aiokafka(fetcher.take(OTHER))
        position, fetcher.state.position = fetcher.state.position, at
        assert as_read(fetcher.take()) == theirs
        assert fetcher.state.position == position == 15


async def test_topics_that_are_not_chunked_keep_their_records() -> None:
    fetcher = await fetched(batch(0, {0: b"a"}))
    (record,) = fetcher.take(OTHER)
    assert (record.topic, record.key, record.value) == ("other", b"k", b"a")


async def test_a_batch_that_was_damaged_is_refused_and_read_again() -> None:
    bad = batch(1, {0: b"bbbb"})
    bad[-3] ^= 1
    fetcher = await fetched(batch(0, {0: b"a"}), bad)
    with pytest.raises(CorruptRecordException, match="chunked"):
        fetcher.take()
    assert fetcher.state.position == 0
    trusting = await fetched(batch(0, {0: b"a"}), bad, check_crcs=False)
    assert [[*piece.offsets] for piece in trusting.take()] == [[0], [1]]


async def test_errors_and_results_that_were_seen_before_stay_as_they_are() -> None:
    fetcher = await fetched(batch(0, {0: b"a"}))
    held = fetcher._records[CHUNKED]
    error = FetchError(error=ValueError("gone"), backoff=0)

    async def nothing_new(*_: Any) -> bool:
        fetcher._records = {CHUNKED: held, OTHER: error}
        return False

    fetcher._proc_fetch_request = nothing_new  # type: ignore[method-assign]
    take_in_pieces(fetcher, {CHUNKED.topic, OTHER.topic})
    assert not await fetcher._proc_fetch_request(None, 0, None)
    assert fetcher._records == {CHUNKED: held, OTHER: error}
    assert held.getall() == [Piece(range(1), [b"a"], 1_000)]
