"""Feedback and its request: too early, never matched, store away, malformed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from prometheus_client import REGISTRY

from schemas.base import SCHEMA_VERSION
from schemas.dead_letter import DeadLetter, DeadLetterReason
from schemas.feedback import FeedbackEvent, Thumb
from schemas.signal import Signal, SignalName, SignalQuery
from schemas.topics import Topics
from streams.feedback import FeedbackAgent
from tests.support.events import NOW_US, numbered_id
from tests.unit.streams.fakes import FakeEvent, FakePublisher, FakeStore, FakeStream, refuses

QUERY = SignalQuery(SignalName.FEEDBACK_POSITIVE_RATE, 300.0, ("model",))


def feedback(number: int, thumb: Thumb | None = Thumb.UP, at_us: int = NOW_US) -> FeedbackEvent:
    return FeedbackEvent(
        schema_version=SCHEMA_VERSION,
        feedback_id=numbered_id(number),
        request_id=f"request-{number}",
        at_us=at_us,
        user_id="user-1",
        thumb=thumb,
    )


def request(number: int) -> tuple[str, ...]:
    """Return what the store answers for a request that it holds."""
    return (f"request-{number}", "vllm", "llama", "v1", "chat")


class Setup:
    """An agent on a clock that a test moves."""

    def __init__(self, store: FakeStore | None = None, publisher: FakePublisher | None = None):
        self.now_us = NOW_US
        self.store = store or FakeStore()
        self.publisher = publisher or FakePublisher()
        self.held: list[Any] = []
        self.agent = FeedbackAgent(
            [QUERY], self.store, self.publisher, lambda: self.now_us, self.held.extend
        )

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.store.tables.get("feedback", [])

    @property
    def letters(self) -> list[DeadLetter]:
        return self.publisher.on(Topics.DEAD_LETTER)

    async def signals(self) -> list[Signal]:
        return list(await self.agent.signals(NOW_US + 120_000_000))


def unmatched() -> float:
    return REGISTRY.get_sample_value("tocsin_feedback_unmatched_total") or 0.0


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.retry._FIRST_S", 0.0)


async def test_feedback_before_its_request_waits_and_then_joins() -> None:
    before = unmatched()
    setup = Setup()
    event = FakeEvent(feedback(1).to_json())
    await setup.agent.run(FakeStream([event]))
    assert (setup.rows, event.acked, setup.held) == ([], 0, [event])
    setup.now_us += 30_000_000
    setup.store.answers = [request(1)]
    await setup.agent.join()
    (row,) = setup.rows
    assert (row["matched"], row["model"], row["thumb"]) == (True, "llama", Thumb.UP)
    assert event.acked == 1
    (signal,) = await setup.signals()
    assert (signal.labels, signal.value, signal.samples) == ({"model": "llama"}, 1.0, 1)
    assert unmatched() == before


async def test_never_matched_is_a_row_and_a_count_but_no_signal() -> None:
    before = unmatched()
    setup = Setup()
    event = FakeEvent(feedback(1).to_json())
    await setup.agent.run(FakeStream([event]))
    setup.now_us += 60_000_000
    await setup.agent.join()
    assert (setup.rows, event.acked) == ([], 0), "its patience is not over yet"
    setup.now_us += 1
    await setup.agent.join()
    await setup.agent.join()
    (row,) = setup.rows
    assert (row["matched"], row["model"]) == (False, "")
    assert event.acked == 1
    assert unmatched() - before == 1
    assert await setup.signals() == []


async def test_nothing_is_given_up_while_the_store_is_away() -> None:
    before = unmatched()
    setup = Setup(FakeStore(away=True))
    event = FakeEvent(feedback(1).to_json())
    await setup.agent.run(FakeStream([event]))
    setup.now_us += 600_000_000
    await setup.agent.join()
    assert (setup.rows, event.acked) == ([], 0)
    assert len(setup.store.asked) == 2
    setup.store.away, setup.store.answers = False, [request(1)]
    await setup.agent.join()
    assert [row["matched"] for row in setup.rows] == [True]
    assert (event.acked, unmatched()) == (1, before)


async def test_records_are_acknowledged_in_the_logs_order() -> None:
    setup = Setup(FakeStore(answers=[request(2)]))
    first, second = FakeEvent(feedback(1).to_json()), FakeEvent(feedback(2).to_json(), 1)
    await setup.agent.run(FakeStream([first, second]))
    assert [row["request_id"] for row in setup.rows] == ["request-2"]
    assert (first.acked, second.acked) == (0, 0)
    setup.store.answers = [request(1)]
    await setup.agent.join()
    assert (first.acked, second.acked) == (1, 1)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", DeadLetterReason.EMPTY),
        (None, DeadLetterReason.EMPTY),
        (b"{", DeadLetterReason.NOT_JSON),
        (b"\xff", DeadLetterReason.NOT_JSON),
        (b"5", DeadLetterReason.INVALID_VALUE),
        (b'{"schema_version":1}', DeadLetterReason.INVALID_VALUE),
        (feedback(1, at_us=NOW_US + 60_000_001).to_json(), DeadLetterReason.TIME_IN_FUTURE),
    ],
)
async def test_a_malformed_record_is_a_dead_letter_with_its_place(
    value: bytes | None, reason: DeadLetterReason
) -> None:
    setup = Setup(FakeStore(answers=[request(2)]), FakePublisher(failures=2))
    bad, good = FakeEvent(value, 41, 3), FakeEvent(feedback(2).to_json(), 42, 3)
    await setup.agent.run(FakeStream([bad, good]))
    (letter,) = setup.letters
    assert (letter.topic, letter.partition, letter.offset, letter.index) == (
        Topics.FEEDBACK.name,
        3,
        41,
        None,
    )
    assert (letter.reason, letter.payload) == (reason, value or b"")
    assert [row["request_id"] for row in setup.rows] == ["request-2"]
    assert (bad.acked, good.acked) == (1, 1)


async def test_a_batch_record_is_acknowledged_when_all_of_it_is_stored() -> None:
    setup = Setup(FakeStore(answers=[request(1)]))
    items = [orjson.loads(feedback(n, Thumb.DOWN).to_json()) for n in (1, 2)]
    event = FakeEvent(orjson.dumps([items[0], {"thumb": "sideways"}, items[1]]), 7)
    await setup.agent.run(FakeStream([event]))
    assert [row["request_id"] for row in setup.rows] == ["request-1"]
    assert event.acked == 0
    (letter,) = setup.letters
    assert (letter.offset, letter.index) == (7, 1)
    setup.store.answers = [request(2)]
    await setup.agent.join()
    assert [row["request_id"] for row in setup.rows] == ["request-1", "request-2"]
    assert event.acked == 1
    (signal,) = await setup.signals()
    assert (signal.value, signal.samples) == (0.0, 2)


async def test_a_row_that_the_store_refuses_is_a_dead_letter() -> None:
    store = FakeStore(check=refuses("request_id", "request-1"), answers=[request(1), request(2)])
    setup = Setup(store)
    events = [FakeEvent(feedback(n).to_json(), n) for n in (1, 2)]
    await setup.agent.run(FakeStream(events))
    assert [row["request_id"] for row in setup.rows] == ["request-2"]
    (letter,) = setup.letters
    assert (letter.reason, letter.offset) == (DeadLetterReason.STORE_REFUSED, 1)
    assert [event.acked for event in events] == [1, 1]
