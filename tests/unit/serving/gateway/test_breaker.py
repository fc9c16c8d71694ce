"""The circuit breakers: what ejects, for how long, how many, and what brings back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.breaker import BreakerPolicy, Breakers, BreakerState

POLICY = BreakerPolicy(consecutive_failures=3, ejection_s=10, max_ejection_s=25, forgive_s=60)


def breakers(*names: str, **changes: object) -> Breakers:
    return Breakers(names or ("a", "b"), POLICY.model_copy(update=changes))


def eject(made: Breakers, name: str, at: float) -> None:
    for _ in range(POLICY.consecutive_failures):
        made.failed(name, at)


def test_failures_in_a_row_eject_and_a_success_between_does_not() -> None:
    made = breakers()
    made.failed("a", 0)
    made.failed("a", 0)
    made.succeeded("a", 0)
    made.failed("a", 0)
    assert not made.failed("a", 0)
    assert made.admit("a", 0)
    assert made.failed("a", 0)
    assert made.state("a") is BreakerState.EJECTED
    assert not made.admit("a", 9.9)
    assert made.admit("b", 9.9)


def test_half_open_takes_one_at_a_time() -> None:
    made = breakers()
    eject(made, "a", 0)
    assert made.available("a", 10)
    assert made.admit("a", 10)
    assert not made.admit("a", 10)
    assert not made.available("a", 10)
    made.released("a")  # its client left: that says nothing
    assert made.state("a") is BreakerState.PROBING
    assert made.admit("a", 11)
    made.succeeded("a", 11)
    assert made.state("a") is BreakerState.CLOSED
    assert made.admit("a", 11)
    assert made.admit("a", 11)


def test_ejections_grow_up_to_the_longest_and_are_forgiven() -> None:
    made = breakers()
    at, lengths = 0.0, []
    eject(made, "a", at)
    for _ in range(3):
        lengths.append(made.returns_at("a") - at)
        at = made.returns_at("a")
        assert made.admit("a", at)
        assert made.failed("a", at)
    assert lengths == [10, 20, 25]
    at = made.returns_at("a")
    assert made.admit("a", at)
    for _ in range(10):
        made.succeeded("a", at)
        at += 60
    eject(made, "a", at)
    assert made.returns_at("a") - at == 10


def test_a_late_failure_does_not_lengthen_an_ejection() -> None:
    made = breakers()
    eject(made, "a", 0)
    assert not made.failed("a", 9)
    assert made.returns_at("a") == 10


@pytest.mark.parametrize(("names", "share", "most"), [("ab", 0.5, 1), ("abc", 0.5, 1), ("a", 1, 1)])
def test_no_more_than_the_share(names: str, share: float, most: int) -> None:
    made = breakers(*names, max_ejected_share=share)
    for name in names:
        eject(made, name, 0)
    assert len(made.ejected()) == made.max_ejected == most
    assert made.capped == len(names) - most


def test_one_that_was_spared_is_ejected_when_there_is_room() -> None:
    made = breakers()
    eject(made, "a", 0)
    eject(made, "b", 0)
    assert made.admit("b", 1)
    assert made.admit("a", 10)
    made.succeeded("a", 10)
    assert made.failed("b", 10)


def test_without_enforcing_ejections_are_only_counted() -> None:
    made = breakers(enforce=False)
    eject(made, "a", 0)
    assert made.admit("a", 0)
    assert made.ejected_in_all == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"), st.sampled_from(["ok", "bad", "gone"]), st.floats(0.0, 8.0)
        ),
        max_size=200,
    ),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
)
def test_whatever_happens_the_share_holds_and_everyone_may_return(
    steps: list[tuple[str, str, float]], share: float
) -> None:
    made = breakers(*"abcd", max_ejected_share=share)
    at = 0.0
    for name, what, pause in steps:
        at += pause
        if not made.admit(name, at):
            assert at < made.returns_at(name)
            continue
        if what == "ok":
            made.succeeded(name, at)
        elif what == "bad":
            made.failed(name, at)
        else:
            made.released(name)
        assert len(made.ejected()) <= 4 * share
    for name in "abcd":
        assert made.admit(name, at + POLICY.max_ejection_s)
