"""Partials of each partition: sent whole, in order, once, and only then acknowledged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schemas.columns import EventColumns
from schemas.settings import StreamSettings
from schemas.topics import Topics
from schemas.window import WindowBatch
from streams import metrics, windows
from streams.batch import Batch
from streams.errors import AbandonedError, StoreUnavailableError
from streams.windows import WindowsAgent
from tests.support.events import NOW_US, event, numbered_id
from tests.support.streams import Log, Outbox, Turn, batch_of

SETTINGS = StreamSettings()


def batch(*places: tuple[int, int], end_us: int = NOW_US, **fields: Any) -> Batch:
    """Return one event for each (partition, offset)."""
    events = [
        event(
            event_id=numbered_id(i),
            start_time_us=end_us - 1_000_000,
            end_time_us=end_us,
            **fields,
        )
        for i in range(len(places))
    ]
    return batch_of(events, *places)


def agent_with(outbox: Outbox, turn: Turn | None = None) -> WindowsAgent:
    return WindowsAgent(SETTINGS, outbox, lambda: NOW_US, turn or Turn())


def sent(outbox: Outbox) -> list[WindowBatch]:
    """Return what was sent behind the announcements."""
    return [message for message in outbox.of(Topics.WINDOWS) if message.fence is not None]


async def test_each_partition_is_a_source_with_its_own_watermark_and_offset() -> None:
    outbox = Outbox()
    agent = agent_with(outbox)
    agent.add(batch((0, 7), (0, 9), (1, 3)))
    await agent.flush()
    first, second = sent(outbox)
    assert [(b.source, b.up_to_offset, b.sequence) for b in (first, second)] == [
        ("llm.requests-0", 9, 2),
        ("llm.requests-1", 3, 2),
    ]
    assert first.epoch != second.epoch
    assert [sum(p.requests for p in b.partials) for b in (first, second)] == [2, 1]
    assert first.watermark_us == NOW_US - SETTINGS.lateness_us


async def test_batches_that_are_added_together_count_as_if_they_came_one_by_one() -> None:
    some = [
        batch((0, 7), (0, 9), (1, 3), model="a"),
        batch((1, 4), end_us=NOW_US + SETTINGS.window_us, feature=None, model="b"),
        batch((0, 11), (1, 5), end_us=NOW_US - 1, model="b"),
    ]
    one_by_one, together = Outbox(), Outbox()
    for outbox, steps in ((one_by_one, [[each] for each in some]), (together, [some])):
        agent = agent_with(outbox)
        for step in steps:
            agent.add(*step)
        await agent.flush()
    same = {"epoch": "", "fence": 0}
    left, right = ([m.model_copy(update=same) for m in sent(o)] for o in (one_by_one, together))
    assert left == right
    assert [message.up_to_offset for message in right] == [11, 5]


async def test_a_failed_flush_is_sent_first_next_time_under_its_own_number() -> None:
    outbox = Outbox()
    agent = agent_with(outbox)
    await agent.announce([0])
    outbox.failures = 1
    records = [Log("t").append(b"1"), Log("t").append(b"2")]
    agent.add(batch((0, 1)))
    agent.acknowledge_later(records[:1])
    await agent.flush()
    assert not sent(outbox)
    assert not records[0].acked
    agent.add(batch((0, 2)))
    agent.acknowledge_later(records[1:])
    await agent.flush()
    assert [(b.sequence, b.up_to_offset) for b in sent(outbox)] == [(2, 1), (3, 2)]
    assert [record.acked for record in records] == [1, 1]
    await agent.flush()
    assert len(sent(outbox)) == 2


async def test_events_that_come_during_a_flush_wait_for_the_next() -> None:
    class Slow(Outbox):
        async def send_many(self, topic: Any, items: Any) -> list[int]:
            started.set()
            await go_on.wait()
            return await super().send_many(topic, items)

    started, go_on = asyncio.Event(), asyncio.Event()
    outbox = Slow()
    agent = agent_with(outbox)
    before, during = Log("t").append(b"1"), Log("t").append(b"2")
    agent.add(batch((0, 1)))
    agent.acknowledge_later([before])
    flushing = asyncio.create_task(agent.flush())
    await started.wait()
    agent.add(batch((0, 2)))
    agent.acknowledge_later([during])
    go_on.set()
    await flushing
    assert (before.acked, during.acked) == (1, 0)
    await agent.flush()
    assert during.acked == 1
    assert sum(p.requests for b in sent(outbox) for p in b.partials) == 2


async def test_a_cancelled_flush_loses_nothing() -> None:
    class Stuck(Outbox):
        async def send_many(self, topic: Any, items: Any) -> list[int]:
            if len(self.sent) == 1:  # the announcement
                self.sent.append(("", "", items[0][1]))
                await asyncio.Event().wait()
            return await super().send_many(topic, items)

    outbox = Stuck()
    agent = agent_with(outbox)
    record = Log("t").append(b"1")
    agent.add(batch((0, 1)))
    agent.acknowledge_later([record])
    flushing = asyncio.create_task(agent.flush())
    await asyncio.sleep(0)
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    assert not record.acked
    await agent.flush()
    assert record.acked == 1
    assert [b.up_to_offset for b in sent(outbox)] == [1]


async def test_a_large_flush_is_cut_and_only_its_last_piece_lets_windows_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(windows, "MAX_MESSAGE_BYTES", 2_000)
    outbox = Outbox()
    agent = agent_with(outbox)
    agent.add(batch((0, 1), end_us=NOW_US - 60_000_000))
    await agent.flush()
    told_us = sent(outbox)[0].watermark_us
    for feature in range(12):
        agent.add(batch((0, 2 + feature), feature=f"feature-{feature}"))
    await agent.flush()
    pieces = sent(outbox)[1:]
    assert len(pieces) > 2
    assert [b.sequence for b in pieces] == list(range(3, 3 + len(pieces)))
    assert {b.watermark_us for b in pieces[:-1]} == {told_us}
    assert {b.up_to_offset for b in pieces[:-1]} == {None}
    assert (pieces[-1].up_to_offset, pieces[-1].watermark_us > told_us) == (13, True)
    assert sum(p.requests for b in pieces for p in b.partials) == 12
    assert all(len(b.to_json()) < 3_000 for b in pieces)


async def test_an_assigned_partition_is_announced_before_it_is_heard() -> None:
    outbox = Outbox()
    agent = agent_with(outbox)
    agent.assigned([3])
    await agent.flush()
    await agent.flush()
    (announced,) = outbox.of(Topics.WINDOWS)
    assert (announced.source, announced.watermark_us) == ("llm.requests-3", 0)
    assert (announced.fence, announced.up_to_offset, announced.partials) == (None, None, ())


async def test_what_is_open_is_sent_before_a_partition_goes_and_it_comes_back_anew() -> None:
    outbox = Outbox()
    agent = agent_with(outbox)
    agent.add(batch((0, 1)))
    await agent.revoked([0])
    agent.add(batch((0, 2)))
    await agent.flush()
    first, second = sent(outbox)
    assert (first.up_to_offset, second.up_to_offset) == (1, 2)
    assert (first.sequence, second.sequence) == (2, 2)
    assert first.epoch != second.epoch


async def test_an_event_beyond_the_arithmetic_is_counted_and_leaves_its_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outbox = Outbox()
    agent = agent_with(outbox)
    add = windows.WindowStore.add

    def choose(store: Any, columns: EventColumns) -> None:
        if "bad" in columns.values("model"):
            raise OverflowError("too much")
        add(store, columns)

    monkeypatch.setattr(windows.WindowStore, "add", choose)
    events = [event(event_id=numbered_id(i), model=m) for i, m in enumerate(["a", "bad", "b"])]
    before = metrics.WINDOW_FAILURES._value.get()
    agent.add(batch_of(events, (0, 1), (0, 2), (0, 3)))
    await agent.flush()
    (told,) = sent(outbox)
    assert sorted(partial.labels["model"] for partial in told.partials) == ["a", "b"]
    assert told.up_to_offset == 3
    assert metrics.WINDOW_FAILURES._value.get() == before + 1


async def test_a_flush_is_due_when_its_time_has_passed() -> None:
    passed_us = 0
    outbox = Outbox()
    agent = WindowsAgent(SETTINGS, outbox, lambda: passed_us, Turn())
    agent.add(batch((0, 1)))
    await agent.flush_if_due()
    assert not sent(outbox)
    passed_us += round(SETTINGS.flush_s * 1e6)
    await agent.flush_if_due()
    agent.add(batch((0, 2)))
    await agent.flush_if_due()
    assert len(sent(outbox)) == 1


async def test_while_no_window_can_close_a_flush_has_time() -> None:
    passed_us = 0
    flush_us = round(SETTINGS.flush_s * 1e6)
    outbox = Outbox()
    agent = WindowsAgent(SETTINGS, outbox, lambda: passed_us, Turn())
    agent.add(batch((0, 1)))
    await agent.flush()
    agent.add(batch((0, 2)))  # of the same window
    passed_us += 3 * flush_us
    await agent.flush_if_due()
    assert len(sent(outbox)) == 1
    passed_us += flush_us
    await agent.flush_if_due()
    assert len(sent(outbox)) == 2
    later = event(end_time_us=NOW_US + SETTINGS.window_us, event_id=numbered_id(9))
    agent.add(batch_of([later], (0, 3)))
    passed_us += flush_us
    await agent.flush_if_due()
    assert len(sent(outbox)) == 3


async def test_in_a_backlog_a_flush_has_time_even_when_windows_may_close() -> None:
    passed_us = 0
    flush_us = round(SETTINGS.flush_s * 1e6)
    outbox, reading = Outbox(), Turn(backlog=5)
    agent = WindowsAgent(SETTINGS, outbox, lambda: passed_us, reading)
    agent.add(batch((0, 1)))
    await agent.flush()
    agent.add(batch_of([event(end_time_us=NOW_US + SETTINGS.window_us)], (0, 2)))
    passed_us += 3 * flush_us
    await agent.flush_if_due()
    assert len(sent(outbox)) == 1
    reading.backlog = 0
    await agent.flush_if_due()
    assert len(sent(outbox)) == 2


async def test_a_flush_is_due_by_what_has_waited_longest() -> None:
    passed_us = 0
    open_us = 4 * round(SETTINGS.flush_s * 1e6)
    outbox = Outbox()
    agent = WindowsAgent(SETTINGS, outbox, lambda: passed_us, Turn(backlog=5))
    agent.add(batch((0, 1)))
    await agent.flush()
    assert len(sent(outbox)) == 1
    passed_us += 10 * open_us  # nothing came meanwhile, and nothing waits
    agent.add(batch((0, 2)))
    await agent.flush_if_due()
    passed_us += open_us - 1
    agent.add(batch((0, 3)))
    await agent.flush_if_due()
    assert len(sent(outbox)) == 1
    passed_us += 1
    outbox.failures = 1
    await agent.flush_if_due()
    assert not outbox.failures  # it was due, and refused
    agent.add(batch((0, 4)))
    await agent.flush_if_due()  # what was refused still is
    assert [told.sequence for told in sent(outbox)] == [2, 3, 4]


async def test_the_last_partition_to_end_a_window_has_it_flushed_at_once() -> None:
    passed_us = SETTINGS.window_us
    outbox = Outbox()
    agent = WindowsAgent(SETTINGS, outbox, lambda: passed_us, Turn())

    def ends(partition: int, windows: int) -> None:
        later = event(end_time_us=NOW_US + windows * SETTINGS.window_us)
        agent.add(batch_of([later], (partition, 1)))

    ends(0, 0)
    ends(1, 0)
    await agent.flush()
    ends(0, 1)
    await agent.flush_if_due()
    assert len(sent(outbox)) == 2  # the other partition holds the window back
    ends(1, 1)
    await agent.flush_if_due()
    assert len(sent(outbox)) == 4
    for number in (2, 3, 4):  # a backlog: one after the other
        ends(0, number)
        ends(1, number)
        await agent.flush_if_due()
    assert len(sent(outbox)) == 4
    passed_us += SETTINGS.window_us // 2
    await agent.flush_if_due()
    assert len(sent(outbox)) == 6


async def test_a_partition_that_is_silent_does_not_keep_a_window_from_being_flushed() -> None:
    passed_us = SETTINGS.window_us
    outbox = Outbox()
    agent = WindowsAgent(SETTINGS, outbox, lambda: passed_us, Turn())
    agent.add(batch((0, 1), (1, 1)))
    await agent.flush()
    passed_us += SETTINGS.idle_us
    agent.add(batch((0, 2)))
    await agent.flush()  # tells that the other one is silent
    before = len(sent(outbox))
    later = event(end_time_us=NOW_US + SETTINGS.window_us, event_id=numbered_id(9))
    agent.add(batch_of([later], (0, 3)))
    await agent.flush_if_due()
    assert len(sent(outbox)) == before + 1


async def test_a_partition_read_to_its_end_says_that_it_is_silent_for_as_long_as_it_is() -> None:
    now_us = NOW_US
    outbox, turn = Outbox(), Turn(read_to_the_end=False)
    agent = WindowsAgent(SETTINGS, outbox, lambda: now_us, turn)
    agent.add(batch((0, 1)))
    await agent.flush()
    now_us += SETTINGS.idle_us
    await agent.flush()
    assert len(sent(outbox)) == 1  # there is more to read: windows have to wait for it
    turn.read_to_the_end = True
    now_us += SETTINGS.idle_us
    await agent.flush()
    await agent.flush()
    assert [b.idle for b in sent(outbox)] == [False, True]
    now_us += SETTINGS.idle_us
    await agent.flush()
    agent.add(batch((0, 2)))
    await agent.flush()
    assert [b.idle for b in sent(outbox)] == [False, True, True, False]


async def test_an_owner_announces_itself_once_and_names_that_place_with_each_batch() -> None:
    outbox = Outbox(failures=1)
    agent = agent_with(outbox)
    with pytest.raises(ConnectionError):
        await agent.announce([0, 3])
    fences = await agent.announce([0, 3])
    first, second = outbox.of(Topics.WINDOWS)
    assert (first.source, first.fence) == ("llm.requests-0", None)
    assert (fences[0].offset, fences[3].offset) == (0, 1)
    assert await agent.announce([3]) == {3: fences[3]}
    agent.add(batch((3, 8)))
    await agent.flush()
    (told,) = sent(outbox)
    assert (told.epoch, told.fence) == (second.epoch, 1)


async def test_nothing_is_sent_while_another_may_have_the_partitions() -> None:
    outbox, turn = Outbox(), Turn()
    agent = agent_with(outbox, turn)
    chunk = Log("t").chunk(b"1")
    agent.add(batch((0, 1)))
    agent.acknowledge_later([chunk])
    turn.confirmed = False
    await agent.flush()
    with pytest.raises(StoreUnavailableError):
        await agent.announce([0])
    turn.leaving = True
    with pytest.raises(AbandonedError):
        await agent.announce([0])
    assert (outbox.sent, chunk.acked) == ([], 0)
    turn.confirmed = True
    await agent.flush()
    assert (len(sent(outbox)), chunk.acked) == (1, 1)


async def test_what_cannot_be_sent_before_a_partition_goes_is_left_to_its_next_owner() -> None:
    outbox = Outbox(failures=1)
    agent = agent_with(outbox)
    chunk = Log("t").chunk(b"1")
    agent.add(batch((0, 1)))
    agent.acknowledge_later([chunk])
    await agent.revoked([0])
    await agent.flush()
    assert not sent(outbox)
    assert not chunk.acked
