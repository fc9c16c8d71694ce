from __future__ import annotations

import pytest

from serving.emit.trace_mark import mark_trace, marked_parent

PARENT = "b7ad6b7169203331"
TRACEPARENT = (b"traceparent", f"00-0af7651916cd43dd8448eb211c80319c-{PARENT}-01".encode())


def state_of(*headers: tuple[bytes, bytes]) -> list[str]:
    marked = mark_trace([TRACEPARENT, *headers])
    return [value.decode() for name, value in marked if name == b"tracestate"]


def test_the_mark_names_the_parent() -> None:
    (state,) = state_of()
    assert state == f"tocsin={PARENT}"
    assert marked_parent(state) == PARENT


def test_what_others_have_put_there_stays() -> None:
    states = state_of((b"tracestate", b"a=1, b=2"), (b"Tracestate", b"tocsin=old,c=3"))
    assert states == [f"tocsin={PARENT},a=1,b=2,c=3"]


def test_no_more_members_than_the_standard_allows() -> None:
    full = ",".join(f"k{number}=1" for number in range(32)).encode()
    (state,) = state_of((b"tracestate", full))
    assert len(state.split(",")) == 32
    assert marked_parent(state) == PARENT


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"tracestate", b"a=1")],
        [(b"traceparent", b"garbage")],
        [(b"traceparent", b"")],
        [TRACEPARENT, TRACEPARENT],
    ],
)
def test_a_request_without_a_trace_is_left_alone(headers: list[tuple[bytes, bytes]]) -> None:
    assert mark_trace(headers) is headers


@pytest.mark.parametrize("state", ["", "a=1", "tocsin", "xtocsin=1", ",,="])
def test_no_mark(state: str) -> None:
    assert marked_parent(state) is None
