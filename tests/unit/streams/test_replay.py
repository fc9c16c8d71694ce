"""What a new owner of a partition skips: by the store's word for rows, by the log's for windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from streams import metrics
from streams.errors import StoreUnavailableError
from streams.replay import Replay, source_name
from streams.requests_table import DEDUPLICATED, RequestsTable
from streams.tail import Fence
from tests.support.events import numbered_id
from tests.support.streams import Rows, TailOf

DAY = "2026-09-21"
FENCES = {2: Fence(7)}


def replay(counted: int | None = None, **answers: list[tuple[Any, ...]]) -> tuple[Replay, Rows]:
    words = {"up_to": "max(kafka_offset)", "held": "kafka_index,", "recent": "event_id"}
    store = Rows(answers={words[name]: rows for name, rows in answers.items()})
    tail = TailOf({} if counted is None else {source_name(2): counted})
    return Replay("log", store, RequestsTable(store, "me"), tail), store


def stored(known: Replay, offset: int, index: int) -> bool:
    return bool(known.known([2])[2].holds(np.array([offset]), np.array([index]))[0])


def counted(known: Replay, offset: int) -> bool:
    return bool(known.known([2])[2].counts(np.array([offset]))[0])


async def test_a_new_log_is_asked_about_once_and_nothing_is_skipped() -> None:
    known, store = replay()
    assert await known.learn({2: 0}, FENCES) == []
    assert len(store.asked) == 1
    assert not stored(known, 0, 0)
    assert not counted(known, 0)
    assert not known.known([2])[2].letter_sent(0)
    await known.learn({2: 5}, FENCES)
    assert len(store.asked) == 1


async def test_a_partition_read_on_from_its_commit_needs_no_rows_and_no_log() -> None:
    known, store = replay(up_to=[(2, 41)], recent=[(numbered_id(1),)])
    assert await known.learn({2: 42}, FENCES) == [str(numbered_id(1))]
    assert not any("kafka_index" in sql for sql in store.asked)
    assert not stored(known, 42, 0)
    assert known.known([2])[2].letter_sent(41)


async def test_only_the_very_events_that_the_store_holds_are_stored() -> None:
    known, _ = replay(counted=11, up_to=[(2, 12)], held=[(10, 0, "", 0, DAY), (12, 1, "", 0, DAY)])
    await known.learn({2: 10}, FENCES)
    assert stored(known, 10, 0)
    assert not stored(known, 10, 1)  # the other half of that record never arrived
    assert stored(known, 12, 1)
    assert not stored(known, 13, 0)
    assert (counted(known, 11), counted(known, 12)) == (True, False)


async def test_windows_not_found_in_the_log_count_nothing() -> None:
    known, _ = replay(up_to=[(2, 12)], held=[(12, 0, "", 0, DAY)])
    await known.learn({2: 12}, FENCES)
    assert not counted(known, 12)


async def test_a_partition_that_went_is_asked_about_anew() -> None:
    known, store = replay()
    await known.learn({2: 0}, FENCES)
    known.forget([2, 3])
    await known.learn({2: 0}, FENCES)
    assert len(store.asked) == 2


async def test_nothing_is_taken_for_known_while_the_store_is_away() -> None:
    class Away(Rows):
        async def query(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
            raise StoreUnavailableError("away")

    known = Replay("log", Away(), RequestsTable(Away(), "me"), TailOf())
    with pytest.raises(StoreUnavailableError):
        await known.learn({2: 0}, FENCES)
    assert known.known([2]) == {}


async def test_of_each_writer_the_last_insert_is_made_whole_under_its_own_name() -> None:
    """Only that one its writer may not have heard of before it died."""
    held = [
        (10, 0, "dead", 7, DAY),
        (10, 1, "dead", 8, DAY),
        (11, 0, "other", 3, DAY),
        (12, 0, "", 0, DAY),
    ]
    known, store = replay(up_to=[(2, 12)], held=held)
    store.answers |= {"uniqExact(insert": [(5,)]}
    store.arrow = pa.table({"request_id": ["r"]})
    await known.learn({2: 10}, FENCES)
    assert store.tokens == ["dead-8", "other-3"]
    assert [row["request_id"] for row in store.tables["requests"]] == ["r", "r"]


async def test_an_insert_whose_name_may_be_forgotten_is_left_and_counted() -> None:
    known, store = replay(up_to=[(2, 12)], held=[(12, 0, "dead", 8, DAY)])
    store.answers |= {"uniqExact(insert": [(DEDUPLICATED,)]}
    before = metrics.INSERTS_IN_DOUBT._value.get()
    await known.learn({2: 12}, FENCES)
    assert store.tokens == []
    assert metrics.INSERTS_IN_DOUBT._value.get() == before + 1
    assert stored(known, 12, 0)
