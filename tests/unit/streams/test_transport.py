"""Delivery over rebalances: nothing fetched is forgotten, nothing unacknowledged committed."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.chunk import Chunk
from streams.pieces import Piece
from streams.transport import _Consumer, _Thread

P0, P1 = TP("llm.requests", 0), TP("llm.requests", 1)
CHUNKED = TP("chunks", 2)
TABLE = TP("app-table-changelog", 0)


class Consumer(_Consumer):
    """The consumer's own bookkeeping, with what Faust gives it replaced."""

    def __init__(self) -> None:
        self._delivered = defaultdict(deque)
        self._done = defaultdict(set)
        self._committed_offset = defaultdict(lambda: None)
        self._unacked_messages = set()
        self._waiting_for_ack = None
        self._buffered_partitions = set()
        self._active_partitions = {P0, P1, CHUNKED, TABLE}
        self._turn = 0
        self._in_hand = {}
        self.app = SimpleNamespace(
            topics=SimpleNamespace(acks_enabled_for=lambda topic: topic != TABLE.topic),
            monitor=SimpleNamespace(track_tp_end_offset=lambda *_: None),
            rebalancing=False,
            chunked={CHUNKED.topic: 3},
        )
        self.flow_active = True
        self.suspend_flow = asyncio.Event()
        self.scheduler = SimpleNamespace(
            iterate=lambda records: [(tp, r) for tp, part in records.items() for r in part]
        )
        self.records: dict[TP, list[Any]] = {}
        self.committed: dict[TP, int | None] = {}
        self.handed: list[tuple[int, int]] = []
        self.values: list[Any] = []
        self.rewound: dict[TP, int] = {}
        self.to_beginning: list[TP] = []
        self.waited_s: list[float] = []
        self.after_each: Any = lambda: None
        self._thread = SimpleNamespace(
            rewind=self._rewind, seek_to_beginning=self._beginning, left=lambda _: 0
        )

    @property
    def should_stop(self) -> bool:
        return False

    def highwater(self, tp: TP) -> int:
        return 0

    def _is_changelog_tp(self, tp: TP) -> bool:
        return tp == TABLE

    def _to_message(self, tp: TP, record: Any) -> Any:
        return Message(tp, record.offset, value=record.value)

    async def sleep(self, n: float) -> None:
        await asyncio.sleep(0)

    async def wait_first(self, work: Any, stop: Any) -> Any:
        stop.close()
        await work
        return SimpleNamespace(stopped=False)

    async def callback(self, item: Any) -> None:
        self.handed.append((item.tp.partition, item.offset))
        self.values.append(item.value)
        self.after_each()

    async def _getmany(self, wanted: set[TP], wait_s: float) -> dict[TP, list[Any]]:
        self.waited_s.append(wait_s)
        return {tp: part for tp, part in self.records.items() if tp in wanted}

    async def seek_to_committed(self) -> dict[TP, int | None]:
        return self.committed

    async def _rewind(self, offsets: dict[TP, int]) -> None:
        self.rewound |= offsets

    async def _beginning(self, *places: TP) -> None:
        self.to_beginning += places


@dataclass(eq=False)
class Message:
    tp: TP
    offset: int
    acked: bool = False
    key: Any = b"key"
    value: Any = b""

    @property
    def topic(self) -> str:
        return self.tp.topic


def message(tp: TP, offset: int) -> Message:
    return Message(tp, offset)


def records(*offsets: int) -> list[Any]:
    return [SimpleNamespace(offset=offset, value=b"%d" % offset) for offset in offsets]


def pieces(*batches: Sequence[int]) -> list[Piece]:
    return [Piece(offsets, [b"%d" % offset for offset in offsets], 0) for offsets in batches]


async def delivered(*offsets: int) -> Consumer:
    consumer = Consumer()
    consumer.records = {P0: records(*offsets)}
    await consumer._fetch_and_deliver()
    return consumer


def done(consumer: Consumer, *offsets: int) -> int | None:
    for offset in offsets:
        consumer.ack(message(P0, offset))
    return consumer._new_offset(P0)


async def test_commits_reach_as_far_as_everything_is_acknowledged() -> None:
    consumer = await delivered(5, 6, 7, 8)
    assert done(consumer, 6) is None  # 5 alone is missing: Faust would commit 7
    assert done(consumer, 8) is None
    assert done(consumer, 5) == 7
    assert done(consumer, 7) == 9
    assert done(consumer) is None


async def test_offsets_that_the_log_lacks_hold_nothing_up() -> None:
    consumer = await delivered(5, 9, 30)
    assert done(consumer, 5, 9) == 10
    assert done(consumer, 30) == 31


async def test_an_acknowledgement_counts_once() -> None:
    consumer = await delivered(5)
    item = message(P0, 5)
    assert consumer.ack(item)
    assert not consumer.ack(item)
    assert list(consumer._filter_tps_with_pending_acks()) == [P0]
    assert list(consumer._filter_tps_with_pending_acks({"another"})) == []


async def test_what_a_pause_leaves_in_hand_is_fetched_again() -> None:
    consumer = Consumer()
    consumer.records = {P0: records(5, 6, 7), P1: records(1)}

    def pause() -> None:
        if consumer.handed[-1] == (0, 5):
            consumer._active_partitions.discard(P0)

    consumer.after_each = pause
    await consumer._fetch_and_deliver()
    assert consumer.handed == [(0, 5), (1, 1)]
    assert consumer.rewound == {P0: 6}


async def test_a_full_buffer_still_takes_what_is_in_hand() -> None:
    consumer = Consumer()
    consumer.records = {P0: records(5, 6)}

    def full() -> None:
        consumer._active_partitions.discard(P0)
        consumer._buffered_partitions.add(P0)

    consumer.after_each = full
    await consumer._fetch_and_deliver()
    assert consumer.handed == [(0, 5), (0, 6)]
    assert not consumer.rewound


async def test_a_fetch_that_leaves_a_full_buffer_out_does_not_wait_for_long() -> None:
    consumer = Consumer()
    await consumer._fetch_and_deliver()
    consumer._buffered_partitions.add(P0)
    await consumer._fetch_and_deliver()
    usual_s, with_a_full_buffer_s = consumer.waited_s
    assert with_a_full_buffer_s < usual_s / 10


async def test_records_of_before_a_seek_are_not_handed_over_after_it() -> None:
    consumer = Consumer()
    consumer.records = {P0: records(5, 6, 7)}
    consumer.committed = {P0: 5}

    def seek() -> None:
        consumer._turn += 1

    consumer.after_each = seek
    await consumer._fetch_and_deliver()
    assert consumer.handed == [(0, 5)]
    assert consumer.rewound == {P0: 6}


async def test_a_record_that_a_suspension_interrupts_is_handed_over_again() -> None:
    consumer = Consumer()
    consumer.records = {P0: records(5, 6)}
    consumer.after_each = consumer.suspend_flow.set
    await consumer._fetch_and_deliver()
    assert consumer.rewound == {P0: 5}
    assert not consumer._delivered[P0]


async def test_until_a_rebalance_is_over_only_tables_are_read() -> None:
    consumer = Consumer()
    consumer.app.rebalancing = True
    assert consumer._wanted() == {TABLE}
    consumer.app.rebalancing = False
    wanted = consumer._wanted()
    assert wanted == {P0, P1, CHUNKED, TABLE}
    assert wanted is not consumer._active_partitions  # a thread reads it


async def test_a_seek_goes_to_the_beginning_where_nothing_is_committed() -> None:
    consumer = await delivered(5, 6)
    consumer.ack(message(P0, 6))
    consumer.committed = {P0: 5, P1: None, TABLE: None}
    await consumer.perform_seek()
    assert consumer.to_beginning == [P1]
    assert (consumer._committed_offset[P0], consumer._committed_offset[P1]) == (5, None)
    assert consumer._new_offset(P0) is None
    await consumer._fetch_and_deliver()  # 5 and 6 again
    assert done(consumer, 5, 6) == 7


class Fetcher:
    """aiokafka's consumer, as far as a rewind asks it."""

    def __init__(self, **positions: int) -> None:
        self.positions = {TP("t", int(name[1:])): at for name, at in positions.items()}

    async def position(self, tp: TP) -> int:
        if tp not in self.positions:
            from aiokafka.errors import IllegalStateError

            raise IllegalStateError("not assigned")
        return self.positions[tp]

    def seek(self, tp: TP, offset: int) -> None:
        self.positions[tp] = offset


async def test_a_rewind_only_ever_goes_back_and_skips_what_is_gone() -> None:
    fetcher = Fetcher(p0=91, p1=40)
    thread = SimpleNamespace(_ensure_consumer=lambda: fetcher)
    places = {TP("t", 0): 73, TP("t", 1): 73, TP("t", 2): 5}
    await _Thread._rewind(thread, places)
    assert fetcher.positions == {TP("t", 0): 73, TP("t", 1): 40}


async def test_a_chunk_is_one_message_that_commits_behind_its_last_record() -> None:
    consumer = Consumer()
    consumer.records = {CHUNKED: pieces([5], [6, 9]), P0: records(1)}
    await consumer._fetch_and_deliver()
    assert consumer.handed == [(2, 9), (0, 1)]
    chunk = consumer.values[0]
    assert chunk == Chunk(2, [5, 6, 9], [b"5", b"6", b"9"], turn=0)
    consumer.ack(Message(CHUNKED, 9, value=chunk))
    assert consumer._new_offset(CHUNKED) == 10


async def test_a_chunk_that_is_not_handed_over_is_fetched_again_from_its_first_record() -> None:
    consumer = Consumer()
    consumer.records = {CHUNKED: pieces([5, 6, 9])}
    consumer.after_each = consumer.suspend_flow.set
    await consumer._fetch_and_deliver()
    assert consumer.rewound == {CHUNKED: 5}


async def test_an_acknowledgement_of_before_a_seek_does_not_count_after_it() -> None:
    consumer = Consumer()
    consumer.records = {CHUNKED: pieces([5, 6])}
    consumer.committed = {CHUNKED: 5}
    await consumer._fetch_and_deliver()
    await consumer.perform_seek()
    await consumer._fetch_and_deliver()
    old, new = consumer.values
    consumer.ack(Message(CHUNKED, 6, value=old))
    assert consumer._new_offset(CHUNKED) is None
    consumer.ack(Message(CHUNKED, 6, value=new))
    assert consumer._new_offset(CHUNKED) == 7


async def test_a_lease_lasts_from_when_the_last_answered_heartbeat_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [True, False, True]
    now = [100.0]

    async def beat() -> bool:
        now[0] += 3.0  # the answer takes its time
        return answers.pop(0)

    async def started(_: Any) -> None:
        pass

    monkeypatch.setattr(_Thread.__base__, "on_start", started)
    monkeypatch.setattr("streams.transport.time.monotonic", lambda: now[0])
    thread = _Thread.__new__(_Thread)
    thread.app = SimpleNamespace(conf=SimpleNamespace(broker_session_timeout=10.0), chunked={})
    coordinator = SimpleNamespace(_do_heartbeat=beat)
    fetcher = SimpleNamespace(_proc_fetch_request=None)
    thread._ensure_consumer = lambda: SimpleNamespace(_coordinator=coordinator, _fetcher=fetcher)
    await thread.on_start()
    assert thread.lease_left_s() < 0
    await thread._confirm()
    assert thread.lease_left_s() == 7
    await thread._confirm()  # not a member any more
    assert thread.lease_left_s() == 4
    await thread._confirm()
    assert thread.lease_left_s() == 7


async def test_a_partition_is_caught_up_when_all_that_was_fetched_is_acknowledged() -> None:
    consumer = Consumer()
    consumer.records = {P0: records(5, 6)}
    seen = []
    consumer.after_each = lambda: seen.append(consumer.caught_up(P0))
    assert consumer.caught_up(P0)
    await consumer._fetch_and_deliver()
    assert seen == [False, False]
    assert not consumer.caught_up(P0)
    consumer.ack(message(P0, 5))
    assert not consumer.caught_up(P0)
    consumer.ack(message(P0, 6))
    assert consumer.caught_up(P0)
    consumer._new_offset(P0)
    assert consumer.caught_up(P0)
    consumer._thread.left = lambda _: 1
    assert not consumer.caught_up(P0)


async def test_a_topic_is_behind_while_more_is_known_than_was_handed_over() -> None:
    consumer = Consumer()
    consumer.records = {P0: records(5, 6), CHUNKED: pieces([1, 2], [3])}
    seen = []
    topics = (P0.topic, CHUNKED.topic)
    consumer.after_each = lambda: seen.append([consumer.behind(topic) for topic in topics])
    consumer.assignment = lambda: {P0, CHUNKED}
    assert not consumer.behind(P0.topic)
    await consumer._fetch_and_deliver()
    assert seen == [[2, 3]] * 3
    assert not consumer.behind(P0.topic)  # what is handed over is in hand, acknowledged or not
    consumer._thread.left = lambda _: 4
    assert consumer.behind(P0.topic) == 4
    assert not consumer.behind("another")
    consumer._thread.left = lambda _: None  # nothing was fetched yet
    assert not consumer.behind(P0.topic)
