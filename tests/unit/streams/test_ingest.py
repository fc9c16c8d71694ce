"""Each event once into the store and the windows, whatever breaks on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from schemas.codec import encode_batch
from schemas.dead_letter import DeadLetterReason
from schemas.pricing import load_price_book
from schemas.settings import KafkaSettings, Settings
from schemas.topics import Topics
from streams import ingest, metrics, retry
from streams.ingest import IngestAgent
from streams.prepare import Preparer
from streams.replay import Replay
from streams.requests_table import RequestsTable
from streams.storing import Storing
from streams.windows import WindowsAgent
from tests.support.events import NOW_US, event, numbered_id
from tests.support.streams import Log, LoggedEvent, Outbox, Rows, TailOf, Turn

DAY = "2026-09-21"


class Samples:
    def __init__(self) -> None:
        self.offered: list[str] = []

    def offer(self, batch: Any) -> None:
        self.offered += batch.columns.values("request_id")


class Setup:
    """An ingest agent with everything around it."""

    def __init__(self, store: Rows | None = None, tail: TailOf | None = None) -> None:
        settings = Settings(kafka=KafkaSettings(log_id="log-1"))
        self.store = store or Rows()
        self.outbox = Outbox()
        self.samples = Samples()
        self.turn = Turn()
        self.windows = WindowsAgent(settings.streams, self.outbox, lambda: NOW_US, self.turn)
        table = RequestsTable(self.store, "writer")
        replay = Replay("log-1", self.store, table, tail or TailOf())
        self.preparer = Preparer(settings, load_price_book(), lambda: NOW_US)
        storing = Storing(
            table, self.outbox, self.preparer, self.windows, self.samples, lambda: NOW_US
        )
        self.agent = IngestAgent(settings, storing, replay, self.preparer, self.windows, self.turn)
        self.log = Log(Topics.REQUESTS.name, partition=2)

    def record(self, *numbers: int) -> bytes:
        events = [event(event_id=numbered_id(n), request_id=f"r{n}") for n in numbers]
        return events[0].to_json() if len(events) == 1 else encode_batch(events)

    async def take(self, *records: bytes | None) -> LoggedEvent:
        chunk = self.log.chunk(*records)
        await self.agent.process([chunk])
        await self.windows.flush()
        return chunk

    @property
    def rows(self) -> list[str]:
        return [row["request_id"] for row in self.store.tables.get("requests", [])]

    @property
    def counted(self) -> int:
        batches = self.outbox.of(Topics.WINDOWS)
        return sum(partial.requests for batch in batches for partial in batch.partials)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_S", 0.0)
    monkeypatch.setattr(retry, "_LONGEST_S", 0.0)


async def test_rows_carry_their_place_in_the_log() -> None:
    setup = Setup()
    await setup.take(setup.record(0), setup.record(1, 2))
    places = [
        (row["kafka_log"], row["kafka_partition"], row["kafka_offset"], row["kafka_index"])
        for row in setup.store.tables["requests"]
    ]
    assert places == [("log-1", 2, 0, 0), ("log-1", 2, 1, 0), ("log-1", 2, 1, 1)]
    assert setup.counted == 3
    assert setup.samples.offered == ["r0", "r1", "r2"]


async def test_garbage_is_a_letter_and_its_neighbours_are_rows() -> None:
    setup = Setup()
    await setup.take(setup.record(0), b"\xff garbage", setup.record(1))
    assert setup.rows == ["r0", "r1"]
    (letter,) = setup.outbox.of(Topics.DEAD_LETTER)
    assert (letter.reason, letter.topic) == (DeadLetterReason.NOT_JSON, Topics.REQUESTS.name)
    assert (letter.partition, letter.offset, letter.index) == (2, 1, None)


async def test_nothing_is_acknowledged_before_the_windows_are_sent() -> None:
    setup = Setup()
    await setup.take(setup.record(9))  # so that the partition is announced
    chunks = [setup.log.chunk(setup.record(n)) for n in (0, 1)]
    setup.outbox.failures = 2
    await setup.agent.process(chunks)  # which flushes, for nothing is behind
    await setup.windows.flush()
    assert [chunk.acked for chunk in chunks] == [0, 0]
    await setup.windows.flush()
    assert [chunk.acked for chunk in chunks] == [1, 1]
    batches = setup.outbox.of(Topics.WINDOWS)
    assert len({(batch.epoch, batch.sequence) for batch in batches}) == len(batches)
    assert setup.counted == 3


async def test_a_broker_that_is_away_keeps_the_letter_and_the_row() -> None:
    setup = Setup()
    setup.outbox.failures = 2
    await setup.take(b"{", setup.record(0))
    assert len(setup.outbox.of(Topics.DEAD_LETTER)) == 1
    assert setup.rows == ["r0"]


async def test_one_row_that_the_store_refuses_costs_no_other() -> None:
    setup = Setup(Rows(refuses=lambda row: row["request_id"] == "r5"))
    await setup.take(setup.record(*range(9)))
    assert setup.rows == [f"r{n}" for n in range(9) if n != 5]
    (letter,) = setup.outbox.of(Topics.DEAD_LETTER)
    assert (letter.reason, letter.index) == (DeadLetterReason.STORE_REFUSED, 5)
    assert setup.counted == 8


async def test_a_producer_that_sends_twice_counts_once() -> None:
    setup = Setup()
    await setup.take(setup.record(0, 1), setup.record(1))
    await setup.take(setup.record(0))
    assert setup.rows == ["r0", "r1"]
    assert setup.counted == 2


async def test_a_replay_skips_what_store_and_windows_hold_and_does_the_rest() -> None:
    """The worker died after it stored offsets 0 and 1 and before windows counted offset 1."""
    store = Rows(
        answers={
            "max(kafka_offset)": [(2, 1)],
            "kafka_index,": [(0, 0, "", 0, DAY), (1, 0, "", 0, DAY)],
            "SELECT event_id": [(numbered_id(0),), (numbered_id(1),)],
        }
    )
    setup = Setup(store, TailOf({"llm.requests-2": 0}))
    await setup.take(setup.record(0), setup.record(1), setup.record(2))
    assert setup.rows == ["r2"]
    assert setup.counted == 2


async def test_half_a_batch_record_in_the_store_is_made_whole() -> None:
    store = Rows(
        answers={
            "max(kafka_offset)": [(2, 0)],
            "kafka_index,": [(0, 0, "", 0, DAY)],
            "SELECT event_id": [(numbered_id(0),)],
        }
    )
    setup = Setup(store)
    await setup.take(setup.record(0, 1))
    assert setup.rows == ["r1"]
    assert setup.counted == 2


async def test_a_fault_of_ours_before_the_store_makes_a_letter_of_that_record_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup = Setup()
    batch = setup.preparer._batch

    def faulty(records: Any, decoded: Any, known: Any) -> Any:
        if len(decoded.columns) and "r1" in decoded.columns.values("request_id"):
            raise ZeroDivisionError
        return batch(records, decoded, known)

    monkeypatch.setattr(setup.preparer, "_batch", faulty)
    await setup.take(setup.record(0), setup.record(1), setup.record(2))
    (letter,) = setup.outbox.of(Topics.DEAD_LETTER)
    assert (letter.reason, letter.offset) == (DeadLetterReason.INTERNAL_ERROR, 1)
    assert setup.rows == ["r0", "r2"]
    assert setup.counted == 2


async def test_a_fault_of_ours_in_the_windows_keeps_the_rows_and_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup = Setup()
    before = metrics.WINDOW_FAILURES._value.get()

    def faulty(batch: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(setup.windows, "add", faulty)
    await setup.take(setup.record(0), setup.record(1))
    assert setup.rows == ["r0", "r1"]
    assert metrics.WINDOW_FAILURES._value.get() - before == 2


async def test_costs_are_exact_and_unknown_prices_null() -> None:
    setup = Setup()
    known = event(event_id=numbered_id(0), provider="openai", model="gpt-4o-mini")
    await setup.take(known.to_json(), setup.record(1))
    costs = [row["cost_usd"] for row in setup.store.tables["requests"]]
    assert str(costs[0]) == "0.000027600"
    assert costs[1] is None


async def test_what_an_assignment_that_is_over_left_holds_up_nothing_of_the_next() -> None:
    setup = Setup()
    stale = setup.log.chunk(setup.record(0))
    setup.turn.turn = 1
    chunk = setup.log.chunk(setup.record(1), turn=1)
    await setup.agent.process([stale, chunk])
    await setup.windows.flush()
    assert setup.rows == ["r1"]
    assert (stale.acked, chunk.acked) == (False, True)


async def test_partitions_that_move_during_the_decoding_leave_it_to_the_next_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup = Setup()
    prepare = setup.preparer.prepare

    def moved(*given: Any) -> Any:
        prepared = prepare(*given)
        setup.turn.turn += 1
        return prepared

    chunk = setup.log.chunk(setup.record(0))
    with monkeypatch.context() as moving:
        moving.setattr(setup.preparer, "prepare", moved)
        await setup.agent.process([chunk])
    await setup.windows.flush()
    assert (setup.rows, setup.counted, chunk.acked) == ([], 0, False)
    again = setup.log.chunk(setup.record(0), turn=1)
    await setup.agent.process([again])  # no repetition: the first never arrived
    assert setup.rows == ["r0"]


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - the agent has no event for it
        await asyncio.sleep(0.01)


@asynccontextmanager
async def working(agent: IngestAgent) -> AsyncIterator[None]:
    """Let an agent work, for half a minute at most."""
    task = asyncio.create_task(agent.work())
    try:
        async with asyncio.timeout(30):
            yield
    finally:
        task.cancel()


class Slow(Rows):
    """A store whose first insert takes until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.free = asyncio.Event(), asyncio.Event()

    async def insert(self, *given: Any, **options: Any) -> None:
        self.began.set()
        await self.free.wait()
        await super().insert(*given, **options)


async def test_what_is_decoded_during_an_insert_goes_with_the_next_one() -> None:
    store = Slow()
    setup = Setup(store)
    chunks = [setup.log.chunk(setup.record(number)) for number in range(3)]
    async with working(setup.agent):
        await setup.agent._gathered.put(chunks[0])
        await store.began.wait()
        for waiting, chunk in enumerate(chunks[1:], 1):
            await setup.agent._gathered.put(chunk)
            await until(lambda count=waiting: len(setup.agent._prepared._items) >= count)
        store.free.set()
        await until(lambda: all(chunk.acked for chunk in chunks))
    assert len(store.tokens) == 2
    assert setup.rows == ["r0", "r1", "r2"]
    assert setup.counted == 3


async def test_rows_refused_out_of_a_joined_insert_are_told_of_their_own_records() -> None:
    setup = Setup(Rows(refuses=lambda row: row["request_id"] == "r1"))
    prepared = [await setup.agent._prepare([setup.log.chunk(setup.record(n))]) for n in range(3)]
    await setup.agent._finish(prepared)
    await setup.windows.flush()
    (letter,) = setup.outbox.of(Topics.DEAD_LETTER)
    assert (letter.reason, letter.offset) == (DeadLetterReason.STORE_REFUSED, 1)
    assert sorted(setup.rows) == ["r0", "r2"]
    assert setup.counted == 2


def in_a_backlog(
    monkeypatch: pytest.MonkeyPatch, fill_s: float, chunks: int
) -> tuple[Setup, Rows, list[LoggedEvent]]:
    """Return an agent that is told of a thousand more records, its store, chunks of two events."""
    monkeypatch.setattr(ingest, "_FILL_S", fill_s)
    setup = Setup()
    setup.turn.backlog = 1_000
    made = [setup.log.chunk(setup.record(2 * n, 2 * n + 1)) for n in range(chunks)]
    return setup, setup.store, made


async def test_a_backlog_goes_to_the_store_in_inserts_of_double_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup, store, chunks = in_a_backlog(monkeypatch, fill_s=60, chunks=6)
    async with working(setup.agent):
        await setup.agent._gathered.put(chunks[0])
        await until(lambda: len(store.tokens) == 1)  # nothing was there before: it does not wait
        for chunk in chunks[1:3]:
            await setup.agent._gathered.put(chunk)
        await until(lambda: len(store.tokens) == 2)  # two events, then four
        for number, chunk in enumerate(chunks[3:], 1):
            await setup.agent._gathered.put(chunk)
            await until(lambda count=number: len(setup.agent._prepared) == count)
        await asyncio.sleep(0.1)
        assert len(store.tokens) == 2  # six are fewer than eight, and more is said to be coming
        setup.turn.backlog = 0
        await until(lambda: all(chunk.acked for chunk in chunks))
    assert len(store.tokens) == 3
    assert setup.rows == [f"r{number}" for number in range(12)]
    assert setup.counted == 12


async def test_towards_a_backlogs_end_what_is_here_is_stored_once_less_is_to_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup, store, chunks = in_a_backlog(monkeypatch, fill_s=60, chunks=5)
    async with working(setup.agent):
        for chunk in chunks[:3]:
            await setup.agent._gathered.put(chunk)
        await until(lambda: len(store.tokens) == 1)
        await setup.agent._gathered.put(chunks[3])
        await until(lambda: len(setup.agent._prepared) == 1)
        setup.turn.backlog = 1  # of two events, as many as are here
        await asyncio.sleep(0.1)
        assert len(store.tokens) == 1
        await setup.agent._gathered.put(chunks[4])
        await until(lambda: len(store.tokens) == 2)
    assert setup.rows == [f"r{number}" for number in range(10)]


async def test_what_was_said_to_be_coming_and_does_not_come_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup, store, _ = in_a_backlog(monkeypatch, fill_s=0.1, chunks=0)
    async with working(setup.agent):
        for number in range(3):
            await setup.agent._gathered.put(setup.log.chunk(setup.record(number)))
            await until(lambda count=number: len(store.tokens) > count)
    assert setup.rows == ["r0", "r1", "r2"]
