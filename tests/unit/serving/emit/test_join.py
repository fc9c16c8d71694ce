"""The join of requests and engine records, and what several records come to."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from serving.emit.engine_facts import EngineFacts, condense
from serving.emit.join import EngineRecord, JoinTable, Waiter, join_key


def record(request_id: str = "chatcmpl-a", at: float = 10.0, **fields: Any) -> EngineRecord:
    return EngineRecord(request_id, at, **fields)


@pytest.mark.parametrize(
    ("engine_id", "key"),
    [
        ("chatcmpl-a", "chatcmpl-a"),
        ("chatcmpl-mine-1", "chatcmpl-mine-1"),
        ("cmpl-a-0", "cmpl-a"),
        ("cmpl-mine-1-12", "cmpl-mine-1"),
        ("resp_a_0", "resp_a"),
        ("resp_a-0_1", "resp_a-0"),
        ("embd-a-0", "embd-a"),
        ("something", "something"),
    ],
)
def test_keys(engine_id: str, key: str) -> None:
    assert join_key(engine_id) == key


def test_a_record_that_comes_first_waits() -> None:
    table = JoinTable()
    table.add(record())
    assert [r.at for r in table.take("chatcmpl-a", 0, 1)] == [10.0]
    assert table.take("chatcmpl-a", 0, 1) == []


def test_a_reused_id_does_not_get_the_record_of_the_request_before() -> None:
    table = JoinTable()
    table.add(record(at=10))
    assert table.take("chatcmpl-a", since=11, count=1) == []
    assert table.unclaimed == 1


def test_two_requests_with_one_id_share_out_the_records() -> None:
    table = JoinTable()
    table.add(record(at=10))
    table.add(record(at=11))
    assert [r.at for r in table.take("chatcmpl-a", 0, 1)] == [10]
    assert [r.at for r in table.take("chatcmpl-a", 0, 1)] == [11]


def test_a_request_that_waits_is_called_when_all_have_come() -> None:
    table = JoinTable()
    called: list[Waiter] = []
    waiter = Waiter("cmpl-a", 5, 2, called.append, [record("cmpl-a-0")])
    table.wait(waiter)
    table.add(record("cmpl-a-1", at=4))  # of an earlier request
    assert called == []
    table.add(record("cmpl-a-1", at=11))
    assert called == [waiter]
    assert [r.at for r in waiter.records] == [10, 11]
    assert not table.give_up(waiter)


def test_a_request_may_give_up() -> None:
    table = JoinTable()
    called: list[Waiter] = []
    first, second = (Waiter("chatcmpl-a", 0, 1, called.append) for _ in range(2))
    table.wait(first)
    table.wait(second)
    assert table.give_up(first)
    assert not table.give_up(first)
    table.add(record())
    assert called == [second]
    table.add(record())
    assert len(table) == 1


def test_records_that_nobody_asks_for_do_not_pile_up() -> None:
    table = JoinTable(capacity=100, ttl_s=1e9)
    for number in range(1_000):
        table.add(record(f"chatcmpl-{number}"))
    assert len(table) == 100
    assert table.unclaimed == 900
    same = JoinTable()
    for _ in range(1_000):
        same.add(record())
    assert len(same.take("chatcmpl-a", 0, 10_000)) < 200


def test_old_records_go() -> None:
    table = JoinTable(ttl_s=30)
    table.add(record("chatcmpl-a", at=0))
    table.add(record("chatcmpl-b", at=10))
    table.add(record("chatcmpl-c", at=35))
    assert len(table) == 2
    assert table.take("chatcmpl-a", 0, 1) == []


def test_records_and_requests_from_two_threads() -> None:
    table = JoinTable()
    found: list[EngineRecord] = []

    def add() -> None:
        for number in range(5_000):
            table.add(record(f"chatcmpl-{number}"))

    thread = threading.Thread(target=add)
    thread.start()
    for number in range(5_000):
        while not (taken := table.take(f"chatcmpl-{number}", 0, 1)):
            pass
        found += taken
    thread.join()
    assert len(found) == 5_000


def test_nothing_known() -> None:
    assert condense([]) == EngineFacts()
    assert condense([record()]) == EngineFacts()


def test_choices_of_one_prompt_share_its_tokens() -> None:
    values: dict[str, Any] = {"input_tokens": 6, "finish_reason": "length", "preemptions": 1}
    facts = condense(
        [
            record(queue_s=1, decode_s=5, cached_input_tokens=0, output_tokens=8, **values),
            record(queue_s=2, decode_s=4, cached_input_tokens=5, output_tokens=7, **values),
        ]
    )
    assert facts == EngineFacts(
        finish_reasons=("length", "length"),
        queue_s=2,
        decode_s=5,
        preemptions=2,
        input_tokens=6,
        cached_input_tokens=0,
        output_tokens=15,
    )


def test_prompts_add_up_and_an_unknown_part_makes_the_sum_unknown() -> None:
    facts = condense(
        [
            record("cmpl-a-0", input_tokens=3, cached_input_tokens=1, output_tokens=8),
            record("cmpl-a-1", input_tokens=4, cached_input_tokens=2, output_tokens=None),
        ]
    )
    assert (facts.input_tokens, facts.cached_input_tokens, facts.output_tokens) == (7, 3, None)
