"""The small steps that the agents share: bisecting, retrying, dead letters, batches, rows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from schemas.base import SCHEMA_VERSION
from schemas.columns import PRICE_UNKNOWN, TOKENS_UNKNOWN, EventColumns
from schemas.dead_letter import MAX_PAYLOAD_BYTES, DeadLetter, DeadLetterReason
from schemas.signal import Signal, SignalName
from schemas.topics import Topics
from streams import chunk as chunk_module
from streams import metrics, retry
from streams.chunk import cut, records
from streams.errors import AbandonedError, StoreUnavailableError
from streams.inserts import insert_each
from streams.letters import DeadLetters
from streams.pieces import Piece
from streams.publish import Publisher
from streams.retry import until_done
from streams.rows import event_rows
from streams.signals import SignalsAgent, series_key
from tests.support.events import NOW_US, event, numbered_id
from tests.support.streams import Log, Outbox, Rows, batch_of


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_S", 0.001)


@pytest.mark.parametrize("bad", [set(), {0}, {7}, {3, 4}, {0, 5, 7}, set(range(8))])
async def test_refused_rows_are_found_and_all_others_stored_once(bad: set[int]) -> None:
    store = Rows(refuses=lambda row: row["n"] in bad)
    refused = await insert_each(store, "t", {"n": list(range(8))})
    assert {row.index for row in refused} == bad
    assert all("code: 27" in row.detail for row in refused)
    assert sorted(row["n"] for row in store.tables.get("t", [])) == sorted(set(range(8)) - bad)


async def test_no_rows_are_no_insert() -> None:
    store = Rows()
    assert await insert_each(store, "t", {"n": []}) == []
    assert not store.tokens


async def test_a_step_is_tried_until_it_is_done() -> None:
    left = [ConnectionError("1"), ValueError("2")]

    async def work() -> str:
        if left:
            raise left.pop()
        return "done"

    assert await until_done("work", work) == "done"


@pytest.mark.parametrize("error", [AbandonedError, asyncio.CancelledError])
async def test_a_step_ends_when_the_worker_does(error: type[BaseException]) -> None:
    async def work() -> None:
        raise error

    with pytest.raises(error):
        await until_done("work", work)


async def test_a_letter_keeps_the_beginning_and_tells_the_size() -> None:
    outbox = Outbox()
    letters = DeadLetters(Topics.REQUESTS, outbox, lambda: NOW_US)
    payload = b"\xff" * (MAX_PAYLOAD_BYTES + 10)
    letter = letters.letter(DeadLetterReason.NOT_JSON, "d" * 3_000, payload, (2, 41, None))
    await letters.send([letter])
    (sent,) = outbox.of(Topics.DEAD_LETTER)
    read = DeadLetter.model_validate_json(sent.to_json())
    assert (read.topic, read.partition, read.offset, read.index) == ("llm.requests", 2, 41, None)
    assert (len(read.payload), read.payload_size) == (MAX_PAYLOAD_BYTES, len(payload))
    assert (len(read.detail), read.at_us) == (2_000, NOW_US)


async def test_letters_are_counted_once_they_are_sent() -> None:
    counter = metrics.DEAD_LETTERS.labels(reason=DeadLetterReason.EMPTY.value)
    before = counter._value.get()
    letters = DeadLetters(Topics.REQUESTS, Outbox(failures=1), lambda: NOW_US)
    letter = letters.letter(DeadLetterReason.EMPTY, "", b"", (0, 0, None))
    with pytest.raises(ConnectionError):
        await letters.send([letter])
    assert counter._value.get() == before
    await letters.send([letter])
    assert counter._value.get() == before + 1


def test_fetched_records_are_cut_by_their_number_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_module, "_CHUNK_BYTES", 10)
    fetched = [
        Piece([3, 4], [b"12345", b"12345"], 0),
        Piece([7, 8, 9, 10], [b"1", None, b"x" * 50, b"1"], 0),
    ]

    def sizes(most: int) -> list[list[int]]:
        parts = list(cut(fetched, most))
        assert [offset for offsets, _ in parts for offset in offsets] == [3, 4, 7, 8, 9, 10]
        assert all(len(offsets) == len(values) for offsets, values in parts)
        return [[len(value or b"") for value in values] for _, values in parts]

    assert sizes(9) == [[5, 5], [1, 0], [50], [1]]
    assert sizes(1) == [[5], [5], [1], [0], [50], [1]]
    monkeypatch.setattr(chunk_module, "_CHUNK_BYTES", 1_000)
    assert sizes(4) == [[5, 5, 1, 0], [50, 1]]
    assert sizes(6) == [[5, 5, 1, 0, 50, 1]]
    assert list(cut([], 9)) == []


def test_offsets_without_a_gap_are_one_range() -> None:
    whole = [Piece(range(3, 5), [b"a", b"b"], 0), Piece([5], [b"c"], 0)]
    assert list(cut(whole, 9)) == [(range(3, 6), [b"a", b"b", b"c"])]
    assert list(cut(whole, 2)) == [(range(3, 5), [b"a", b"b"]), (range(5, 6), [b"c"])]
    (gap,) = cut([whole[0], Piece([6], [b"c"], 0)], 9)
    assert gap == ([3, 4, 6], [b"a", b"b", b"c"])


def test_an_event_brings_its_records() -> None:
    log = Log("topic", partition=1)
    assert list(records(log.append(b"a"))) == [(0, b"a")]
    assert list(records(log.append(None))) == [(1, b"")]
    assert list(records(log.chunk(b"b", None))) == [(2, b"b"), (3, b"")]


def test_part_of_a_batch_keeps_costs_and_places() -> None:
    events = [event(event_id=numbered_id(i), request_id=f"r{i}") for i in range(3)]
    whole = batch_of(events, (0, 5), (0, 7), (1, 6))
    whole = replace(
        whole, columns=replace(whole.columns, cost_nano_usd=np.array([10, 20, 30], np.int64))
    )
    part = whole.take(np.array([0, 2]))
    assert part.columns.values("request_id") == ["r0", "r2"]
    assert part.columns.cost_nano_usd.tolist() == [10, 30]
    assert [part.origin.place(number) for number in (0, 1)] == [(0, 5, 0), (1, 6, 0)]
    assert part.columns.event(1) == events[2]
    parts = {number: some.columns.values("request_id") for number, some in whole.by_partition()}
    assert parts == {0: ["r0", "r1"], 1: ["r2"]}
    assert whole.take(np.arange(3)) is whole
    assert list(whole.take(np.empty(0, np.int64)).by_partition()) == []


def test_rows_hold_exact_costs_and_no_zero_for_the_unknown() -> None:
    events = [event(event_id=numbered_id(i)) for i in range(4)]
    costs = np.array([1_234_567, PRICE_UNKNOWN, TOKENS_UNKNOWN, 0])
    origin = batch_of(events).origin
    rows = event_rows(EventColumns.from_events(events, costs), origin).to_pydict()
    assert rows["cost_usd"] == [Decimal("0.001234567"), None, None, Decimal(0)]
    assert rows["end_time"][0].timestamp() == events[0].end_time_us / 1e6
    assert rows["kafka_offset"] == [0, 1, 2, 3]
    assert rows["lora_adapter"] == [None] * 4


class Producer:
    """Faust's producer: acknowledgements are futures."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.sent: list[tuple[Any, ...]] = []

    async def send(self, *message: Any) -> Any:
        self.sent.append(message)
        future = asyncio.get_running_loop().create_future()
        outcome = self.outcomes.pop(0)
        if outcome:
            future.set_exception(outcome)
        else:
            future.set_result(SimpleNamespace(offset=40 + len(self.sent)))
        return future


async def test_a_publisher_returns_when_the_broker_has_everything() -> None:
    starts = []

    async def start() -> None:
        starts.append(1)

    app = SimpleNamespace(
        producer=Producer(None, ConnectionError("no")), maybe_start_producer=start
    )
    counter = metrics.MESSAGES_SENT.labels(topic=Topics.SIGNALS.name)
    before = counter._value.get()
    items = [("a", event()), ("b", event())]
    with pytest.raises(ConnectionError):
        await Publisher(app).send_many(Topics.SIGNALS, items)
    assert counter._value.get() == before
    app.producer = Producer(None, None)
    assert await Publisher(app).send_many(Topics.SIGNALS, items) == [41, 42]
    assert [message[:2] for message in app.producer.sent] == [
        (Topics.SIGNALS.name, b"a"),
        (Topics.SIGNALS.name, b"b"),
    ]
    assert counter._value.get() == before + 2
    await Publisher(app).send_many(Topics.SIGNALS, [])
    assert len(starts) == 2


class Source:
    """A detector that may fail."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.taken = 0

    def take_in(self, windows: Any) -> None:
        if self.fails:
            raise ZeroDivisionError
        self.taken += len(windows)

    async def signals(self, end_us: int) -> list[Signal]:
        if self.fails:
            raise StoreUnavailableError("away")
        return [signal(SignalName.ERROR_RATE, {"model": "m", "a": "1"}, end_us)]


def signal(name: SignalName, labels: Mapping[str, str], end_us: int) -> Signal:
    return Signal(
        schema_version=SCHEMA_VERSION,
        signal=name,
        labels=dict(labels),
        over_s=60,
        window_end_us=end_us,
        value=0.5,
        samples=10,
        detector="test",
    )


async def test_a_failing_detector_silences_no_other_and_the_lag_comes_last() -> None:
    outbox = Outbox(failures=1)
    good, bad = Source(fails=False), Source(fails=True)
    agent = SignalsAgent([bad, good], outbox)
    counter = metrics.DETECTOR_FAILURES.labels(source="source")
    before = counter._value.get()
    agent.take_in([object()])  # type: ignore[list-item]
    await agent.evaluate(NOW_US, lag_s=None)
    assert good.taken == 1
    assert counter._value.get() == before + 2
    said = outbox.of(Topics.SIGNALS)
    assert [s.signal for s in said] == [SignalName.ERROR_RATE, SignalName.WATERMARK_LAG]
    assert said[-1].value is None
    assert series_key(said[0]) == "error_rate{a=1,model=m}"
