"""Faust's Kafka transport, with a delivery that loses nothing when partitions move.

Faust 0.15 hands records to agents while it still seeks to the committed offsets, forgets records
that it had fetched for partitions it then pauses, and commits past what it forgot (an offset that
is alone unacknowledged counts as acknowledged). Each rebalance under load lost records for good:
tests/acceptance/test_crashes.py shows it within seconds when it runs on ``faust``'s own transport.
Here a record that was fetched but not handed over is fetched again, and an offset is committed only
when every record handed over before it is acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka
from faust.types import TP
from mode.utils.futures import notify

from streams.chunk import Chunk, cut
from streams.pieces import take_in_pieces

__all__ = ["Transport"]

_FETCH_S = 1.0
_FETCH_BYTES = 4 * 1024 * 1024
_PAUSE_S = 0.05


class _Thread(aiokafka.AIOKafkaConsumerThread):  # type: ignore[misc]
    """aiokafka's consumer in a thread of its own."""

    _alive_s = float("-inf")

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no settings for these; they are read when the consumer starts.
        consumer._fetch_max_wait_ms = round(self.app.fetch_wait_s * 1_000)  # noqa: SLF001
        consumer._fetch_max_bytes = _FETCH_BYTES  # noqa: SLF001
        return consumer

    async def on_start(self) -> None:
        """Start aiokafka's consumer, and note when its group answers."""
        await super().on_start()
        consumer = self._ensure_consumer()
        take_in_pieces(consumer._fetcher, self.app.chunked)  # noqa: SLF001
        coordinator = consumer._coordinator  # noqa: SLF001
        beat = coordinator._do_heartbeat  # noqa: SLF001

        async def noted() -> bool:
            started = time.monotonic()
            alive = await beat()
            if alive:
                self._alive_s = started
            return bool(alive)

        coordinator._do_heartbeat = noted  # noqa: SLF001

    def lease_left_s(self) -> float:
        """Return the session's rest, from when the last answered heartbeat was sent."""
        timeout_s = float(self.app.conf.broker_session_timeout)
        return self._alive_s + timeout_s - time.monotonic()

    async def confirm(self) -> None:
        """Ask the group at once whether this worker is its member; what it answers is a lease."""
        await self.call_thread(self._confirm)

    async def _confirm(self) -> None:
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001
        await coordinator._do_heartbeat()  # noqa: SLF001

    def left(self, tp: TP) -> int | None:
        """Return how many records lie behind a partition's position, None before a fetch tells."""
        consumer = self._ensure_consumer()
        assignment = consumer._subscription.subscription.assignment  # noqa: SLF001
        state = assignment.tps and tp in assignment.tps and assignment.state_value(tp)
        if not state or not state.has_valid_position or state.highwater is None:
            return None
        return max(0, int(state.highwater) - int(state.position))

    async def rewind(self, offsets: Mapping[TP, int]) -> None:
        """Fetch again from these offsets, where the consumer is beyond them."""
        await self.call_thread(self._rewind, offsets)

    async def _rewind(self, offsets: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            try:
                async with asyncio.timeout(_FETCH_S):
                    position = await consumer.position(tp)
                # Nothing can come between this look and the seek: there is no await.
                if position > offset:
                    consumer.seek(tp, offset)
            except (IllegalStateError, TimeoutError):
                continue  # no longer ours, or about to start from its committed offset


class _Consumer(aiokafka.Consumer):  # type: ignore[misc]
    """Hands records to agents, and commits what they have acknowledged.

    Records of ``app.chunked`` topics go as chunks, each a message with the offset of its last
    record; all others go one by one. ``_delivered`` holds the offsets handed over and not yet
    committed, in the log's order, ``_done`` those of them that are acknowledged; ``_in_hand`` how
    many records of which partitions are fetched but not handed over; ``_turn`` changes whenever
    positions do.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._delivered: defaultdict[TP, deque[int]] = defaultdict(deque)
        self._done: defaultdict[TP, set[int]] = defaultdict(set)
        self._turn = 0
        self._in_hand: dict[TP, int] = {}

    @property
    def turn(self) -> int:
        """Return what tells chunks fetched from now on from older ones."""
        return self._turn

    def caught_up(self, tp: TP) -> bool:
        """Tell whether everything that the partition holds was fetched and is acknowledged."""
        if tp in self._in_hand or not self._done[tp].issuperset(self._delivered[tp]):
            return False
        return self._thread.left(tp) == 0  # type: ignore[no-any-return]

    def behind(self, topic: str) -> int:
        """Return how many records a topic is known to hold that were not handed over yet."""
        tps = [tp for tp in self.assignment() if tp.topic == topic]
        return sum(self._in_hand.get(tp, 0) + (self._thread.left(tp) or 0) for tp in tps)

    def lease_left_s(self) -> float:
        """Return for how long the group surely keeps this worker's partitions for it."""
        return self._thread.lease_left_s()  # type: ignore[no-any-return]

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._fetch_and_deliver()
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    async def _fetch_and_deliver(self) -> None:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        turn = self._turn
        wanted = self._wanted()
        if not wanted:
            await self.sleep(_PAUSE_S)
            return
        # A full buffer empties within milliseconds, and nothing would tell of what is left out:
        # a second's silence, when all that is left of a backlog is in that partition.
        wait_s = _PAUSE_S if self._buffered_partitions else _FETCH_S
        records = await self._getmany(wanted, wait_s) or {}
        self._in_hand = {tp: self._count(tp, part) for tp, part in records.items()}
        await self.sleep(0)
        unread: dict[TP, int] = {}
        single = {}
        for tp, part in records.items():
            if tp.topic not in self.app.chunked:
                single[tp] = part
                continue
            for offsets, values in cut(part, self.app.chunked[tp.topic]):
                chunk = Chunk(tp.partition, offsets, values, turn)
                if not await self._deliver(tp, _whole(tp, chunk, part[-1].timestamp), turn):
                    unread[tp] = offsets[0]
                    break
        for tp, record in self.scheduler.iterate(single):
            if tp in unread or not await self._deliver(tp, record, turn):
                unread.setdefault(tp, record.offset)
        if unread and not self.should_stop:
            await self._thread.rewind(unread)
        self._in_hand = {}

    def _count(self, tp: TP, part: Sequence[Any]) -> int:
        """Return how many records a partition's part of a fetch has."""
        if tp.topic in self.app.chunked:
            return sum(len(piece.offsets) for piece in part)
        return len(part)

    def _wanted(self) -> set[TP]:
        """Return the partitions to fetch: a copy, for the thread reads it while it may change.

        Until a rebalance is over positions are not settled; only tables recover meanwhile.
        """
        active = set(self._get_active_partitions())
        if self.app.rebalancing:
            return {tp for tp in active if self._is_changelog_tp(tp)}
        return active

    async def _deliver(self, tp: TP, record: Any, turn: int) -> bool:
        readable = tp in self._get_active_partitions() or tp in self._buffered_partitions
        if turn != self._turn or not self.flow_active or not readable:
            return False
        acknowledged = self.app.topics.acks_enabled_for(tp.topic)
        if acknowledged:
            self._delivered[tp].append(record.offset)
        message = self._to_message(tp, record)
        result = await self.wait_first(self.callback(message), self.suspend_flow.wait())
        if result.stopped or self.suspend_flow.is_set():
            # Perhaps it was handed over, perhaps not: once more does no harm.
            if acknowledged and turn == self._turn and self._delivered[tp]:
                self._delivered[tp].pop()
            return False
        self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
        return True

    async def perform_seek(self) -> None:
        """Go back to what is committed, and where nothing is, to the beginning."""
        self._turn += 1
        committed = await self.seek_to_committed()
        streams = [tp for tp in committed if not self._is_changelog_tp(tp)]
        if fresh := [tp for tp in streams if not committed[tp]]:
            await self._thread.seek_to_beginning(*fresh)
        self._turn += 1
        for tp in streams:
            self._delivered[tp].clear()
            self._done[tp].clear()
            self._committed_offset[tp] = committed[tp] or None

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take over what the group has assigned, and ask whether it still stands.

        A worker that was stalled may come here long after the group gave its partitions away.
        """
        await super().on_partitions_assigned(assigned, generation_id)
        self.add_future(self._thread.confirm())

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit what is done of partitions that go, then forget them.

        What is in hand still belongs to the old turn meanwhile, and is finished or left.
        """
        await super().on_partitions_revoked(revoked)
        self._turn += 1
        for tp in revoked:
            self._delivered.pop(tp, None)
            self._done.pop(tp, None)

    def ack(self, message: Any) -> bool:
        """Note that a message is done."""
        if message.acked:
            return False
        message.acked = True
        if isinstance(message.value, Chunk) and message.value.turn != self._turn:
            return False  # its offsets may be in hand again, under their new turn
        self._unacked_messages.discard(message)
        if self.app.topics.acks_enabled_for(message.topic):
            self._done[message.tp].add(message.offset)
        notify(self._waiting_for_ack)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (
            tp for tp in list(self._done) if topics is None or tp in topics or tp.topic in topics
        )

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset to commit: behind the longest run of done records, None for no news."""
        delivered, done = self._delivered[tp], self._done[tp]
        last = None
        while delivered and delivered[0] in done:
            last = delivered.popleft()
            done.discard(last)
        if len(done) > len(delivered):  # of records that were handed over again meanwhile
            done.intersection_update(delivered)
        return None if last is None else last + 1


def _whole(tp: TP, chunk: Chunk, timestamp: int) -> ConsumerRecord[None, Chunk]:
    """Return a chunk as one record, with the offset of its last."""
    place = (tp.topic, tp.partition, chunk.offsets[-1])
    return ConsumerRecord(*place, timestamp, 0, None, chunk, None, -1, -1, ())


class Transport(aiokafka.Transport):  # type: ignore[misc]
    """Faust's transport with the consumer above; the application tells ``fetch_wait_s``."""

    Consumer = _Consumer
