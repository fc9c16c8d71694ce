"""Event ids as numbers behave as sets of their texts do."""

from __future__ import annotations

from uuid import UUID

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from streams.event_ids import EventIds, Ids
from streams.seen_events import SeenEvents

# Few halves, so that both occur with the same other one.
HALVES = st.sampled_from([0, 1, 7, 2**63, 2**64 - 1])
UUIDS = st.builds(lambda high, low: UUID(int=high << 64 | low), HALVES, HALVES)
TEXTS = st.lists(UUIDS.map(str), max_size=30)


def ids(texts: list[str] | str) -> Ids:
    return Ids.of_texts([named(text) if len(text) == 1 else text for text in texts])


def named(letter: str) -> str:
    return str(UUID(int=ord(letter)))


def known(seen: SeenEvents, letters: str) -> list[bool]:
    return seen.among(ids(letters)).tolist()


@given(st.lists(st.uuids().map(str), max_size=20), st.integers(0, 20))
def test_texts_and_columns_of_them_are_the_same_numbers(texts: list[str], first: int) -> None:
    column = pa.array(["short", *texts, "behind"], pa.string()).slice(1, len(texts)).slice(first)
    for part, found in ((texts, Ids.of_texts(texts)), (texts[first:], Ids.of_column(column))):
        halves = zip(found.high.tolist(), found.low.tolist(), strict=True)
        assert [UUID(int=high << 64 | low) for high, low in halves] == [UUID(text) for text in part]


@given(TEXTS, TEXTS, TEXTS)
def test_sets_of_numbers_are_sets_of_texts(one: list[str], two: list[str], ask: list[str]) -> None:
    both = EventIds(ids(one)).joined(EventIds(ids(two)))
    assert len(both) == len(one) + len(two)
    assert both.among(ids(ask)).tolist() == [text in {*one, *two} for text in ask]
    if both.all_differ():
        assert len({*one, *two}) == len(both)
    if {*one, *two} & {*ask}:
        assert both.meets(EventIds(ids(ask)))


def test_of_ids_that_differ_in_their_random_half_it_is_known() -> None:
    one, two = EventIds(ids("abc")), EventIds(ids("xyz"))
    assert one.all_differ()
    assert not one.meets(two)
    assert not EventIds(ids("")).meets(one)
    assert not one.meets(EventIds(ids("")))
    assert not EventIds(ids("aa")).all_differ()


def test_the_oldest_ids_are_forgotten_first() -> None:
    seen = SeenEvents(capacity=2)
    seen.remember(EventIds(ids("ab")))
    seen.remember(EventIds(ids("c")))
    assert known(seen, "abc") == [True, True, True]
    assert seen.meets(EventIds(ids("xa")))
    seen.remember(EventIds(ids("d")))
    assert known(seen, "abcd") == [False, False, True, True]
    assert not seen.meets(EventIds(ids("abx")))


def test_as_many_as_the_capacity_are_remembered_and_few_more() -> None:
    texts = [str(UUID(int=number)) for number in range(1_000)]
    seen = SeenEvents(capacity=100)
    for number, text in enumerate(texts):
        seen.remember(EventIds(ids([text])))
        held = seen.among(ids(texts[: number + 1])).tolist()
        assert all(held[-100:])
        assert sum(held) <= 125
        assert len(seen._sets()) <= 14


def test_ids_learnt_of_partitions_that_come_push_none_out_that_was_taken_in() -> None:
    seen = SeenEvents(capacity=2)
    seen.remember(EventIds(ids("ab")))
    seen.remember(EventIds(ids("c")))
    for learnt in ("xyz", "uvw"):
        seen.learn(ids(learnt))
    assert known(seen, "abcxyzuvw") == [True] * 9
    seen.remember(EventIds(ids("d")))
    assert known(seen, "acdxu") == [False, True, True, True, True]
    seen.remember(EventIds(ids("e")))  # with d as many as are kept
    assert known(seen, "cdexu") == [False, True, True, False, False]


def test_ids_learnt_again_with_each_rebalance_take_no_more_memory() -> None:
    seen = SeenEvents()
    seen.remember(EventIds(ids("a")))
    for _ in range(3):
        seen.learn(ids("axy"))
    assert [len(held) for held in seen._sets()] == [1, 2]
    assert known(seen, "axyz") == [True, True, True, False]
