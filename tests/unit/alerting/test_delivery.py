"""When to try again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.delivery import DeliveryPolicy, GiveUp, TryAgain, next_attempt, next_attempt_us
from alerting.errors import NotifyRefused, NotifyRetryable

T = 1_700_000_000_000_000


def pause_s(attempt: int, error: Exception, key: str = "k") -> float:
    following = next_attempt(attempt, error, T, key)
    assert isinstance(following, TryAgain)
    return (following.at_us - T) / 1e6


@given(st.integers(1, 11), st.text(max_size=8))
def test_pauses_double_with_at_most_half_taken_off(attempt: int, key: str) -> None:
    full = min(120.0, 2.0 ** (attempt - 1))
    assert full / 2 - 1e-6 <= pause_s(attempt, NotifyRetryable("x"), key) <= full


def test_pauses_follow_from_key_and_attempt_and_differ_between_keys() -> None:
    error = NotifyRetryable("x")
    assert pause_s(5, error, "a") == pause_s(5, error, "a")
    assert len({pause_s(5, error, f"{n}") for n in range(20)}) > 10


def test_what_the_receiver_asks_for_is_a_lower_bound_up_to_an_hour() -> None:
    assert pause_s(1, NotifyRetryable("x", 30)) == 30
    assert pause_s(1, NotifyRetryable("x", 0)) >= 0.5
    assert pause_s(1, NotifyRetryable("x", 1e9)) == 3_600
    assert pause_s(8, NotifyRetryable("x", 1)) > 50


def test_a_refusal_ends_it_at_once() -> None:
    assert next_attempt(1, NotifyRefused("400"), T) == GiveUp("refused: 400")
    assert next_attempt_us(1, NotifyRefused("400"), T) is None


def test_it_ends_after_the_last_attempt_with_the_reason() -> None:
    policy = DeliveryPolicy(attempts=3)
    assert isinstance(next_attempt(2, NotifyRetryable("503"), T, "", policy), TryAgain)
    assert next_attempt(3, NotifyRetryable("503"), T, "", policy) == GiveUp(
        "gave up after 3 attempts: 503"
    )


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("boom")])
def test_an_undeclared_error_does_not_lose_a_page(error: Exception) -> None:
    assert next_attempt_us(1, error, T) is not None
