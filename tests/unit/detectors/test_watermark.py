"""The watermark: least over the speaking sources, on with the clock when all are silent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import DetectorError
from detectors.watermark import Watermark

S = 1_000_000


def test_nothing_known_is_zero() -> None:
    watermark = Watermark(2 * S)
    assert watermark.advance(1_000 * S) == 0
    assert watermark.advance(2_000 * S) == 0


def test_slowest_source_holds_back_until_it_says_that_it_is_idle() -> None:
    watermark = Watermark(2 * S)
    watermark.observe("a", 100 * S, 0)
    watermark.observe("b", 50 * S, 0)
    assert watermark.advance(0) == 48 * S
    watermark.observe("a", 110 * S, 3 * S)
    assert watermark.advance(3_000 * S) == 48 * S  # it may be that nobody reads it
    watermark.observe("b", 50 * S, 3_001 * S, idle=True)
    assert watermark.advance(3_001 * S) == 108 * S
    assert watermark.value_us == 108 * S


def test_last_window_closes_by_the_clock_when_all_are_idle() -> None:
    watermark = Watermark(2 * S)
    watermark.observe("a", 100 * S, 0)
    assert watermark.advance(4 * S) == 98 * S
    watermark.observe("a", 100 * S, 5 * S, idle=True)
    assert watermark.advance(5 * S) == 103 * S
    assert watermark.advance(12 * S) == 110 * S


def test_announced_source_holds_back_and_then_gives_way() -> None:
    watermark = Watermark(2 * S)
    watermark.observe("a", 0, 0, idle=True)
    assert watermark.advance(60 * S) == 0  # idle, but no event time is known at all
    watermark.observe("a", 0, 60 * S)
    watermark.observe("b", 100 * S, 60 * S)
    assert watermark.advance(61 * S) == 0
    watermark.observe("b", 105 * S, 64 * S)
    watermark.observe("a", 0, 65 * S, idle=True)
    assert watermark.advance(65 * S) == 103 * S


def test_returning_source_does_not_pull_back() -> None:
    watermark = Watermark(0)
    watermark.observe("a", 100 * S, 0)
    watermark.observe("b", 10 * S, 0, idle=True)
    watermark.observe("a", 200 * S, 6 * S)
    assert watermark.advance(6 * S) == 200 * S
    watermark.observe("b", 20 * S, 7 * S)
    assert watermark.advance(7 * S) == 200 * S
    watermark.observe("b", 300 * S, 8 * S)
    assert watermark.advance(8 * S) == 200 * S  # now a holds back, at its 200 s


def test_clock_that_jumps_back_neither_moves_nor_freezes_the_watermark() -> None:
    watermark = Watermark(0)
    watermark.observe("a", 100 * S, 1_000 * S)
    watermark.observe("a", 100 * S, 1_000 * S, idle=True)
    assert watermark.advance(1_000 * S) == 100 * S
    assert watermark.advance(400 * S) == 100 * S  # ten minutes back
    assert watermark.advance(405 * S) == 105 * S  # five seconds that passed


def test_forgotten_source_does_not_hold_back() -> None:
    watermark = Watermark(0)
    watermark.observe("a", 100 * S, 0)
    watermark.observe("b", 10 * S, 0)
    watermark.forget("b")
    assert watermark.advance(0) == 100 * S
    watermark.forget("a")
    assert watermark.advance(60 * S) == 100 * S


def test_future_event_counts_as_just_the_clock() -> None:
    watermark = Watermark(0, future_us=S)
    watermark.observe("a", 500 * S, 100 * S)
    assert watermark.advance(100 * S) == 101 * S


def test_negative_durations_are_refused() -> None:
    with pytest.raises(DetectorError):
        Watermark(-1)


calls = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", ""]),
        st.integers(0, 10**9),
        st.integers(-(10**7), 10**8),
        st.booleans(),
    ),
    max_size=60,
)


@given(calls, st.integers(0, 10**7))
def test_never_goes_back_and_never_passes_what_was_heard_but_by_the_clock(
    steps: list[tuple[str, int, int, bool]], lateness: int
) -> None:
    watermark = Watermark(lateness)
    now, passed, last, heard = 10**9, 0, 0, 0
    for source, event, step, idle in steps:
        now += step
        passed += max(0, step)
        if source:
            watermark.observe(source, event, now, idle=idle)
            heard = max(heard, event)
        value = watermark.advance(now)
        assert value >= last
        assert value <= max(0, heard + passed - lateness)
        last = value
