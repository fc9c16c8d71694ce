"""The queue's bounds, against a simple model of it."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from serving.emit.bounded_queue import BoundedQueue, Entry
from tests.unit.serving.emit.events import make_event


def entry(size: int) -> Entry:
    return Entry(make_event, size)


@given(
    st.lists(
        st.integers(1, 40).map(lambda n: ("put", n)) | st.integers(0, 5).map(lambda n: ("take", n))
    )
)
def test_as_the_model_says(steps: list[tuple[str, int]]) -> None:
    queue, model, dropped = BoundedQueue(5, 50), list[int](), 0
    for kind, number in steps:
        if kind == "put":
            dropped += queue.put(entry(number))
            model.append(number)
        else:
            taken = [e.size for e in queue.take(number)]
            assert taken == model[: len(taken)] == model[:number]
            del model[: len(taken)]
        while len(model) > 5 or sum(model) > 50:
            model.pop(0)
            dropped -= 1
        assert len(queue) == len(model) <= 5
        assert queue.bytes == sum(model) <= 50
        assert dropped == 0


def test_what_is_too_big_alone_costs_nobody_else() -> None:
    queue = BoundedQueue(5, 50)
    queue.put(entry(10))
    assert queue.put(entry(51)) == 1
    assert len(queue) == 1
    assert queue.drain() == 1
    assert (len(queue), queue.bytes) == (0, 0)


def test_two_threads_lose_nothing() -> None:
    queue, taken = BoundedQueue(10**6, 10**9), 0

    def put() -> None:
        for _ in range(20_000):
            queue.put(entry(1))

    threads = [threading.Thread(target=put) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or len(queue):
        taken += len(queue.take(100))
    assert taken == 40_000
    assert queue.bytes == 0
