"""Gaps between the pieces of a stream."""

from __future__ import annotations

from serving.emit.pace import Pace


def test_nothing_came() -> None:
    pace = Pace()
    assert (pace.first_at, pace.itl_mean_s, pace.itl_max_s) == (None, None, None)


def test_one_piece_has_no_gap() -> None:
    pace = Pace()
    pace.produced(0, 1.0)
    assert (pace.first_at, pace.itl_mean_s, pace.itl_max_s) == (1.0, None, None)


def test_gaps_are_within_a_choice() -> None:
    pace = Pace()
    for choice, at in ((0, 1.0), (1, 1.5), (0, 2.0), (1, 4.5)):
        pace.produced(choice, at)
    assert (pace.first_at, pace.last_at) == (1.0, 4.5)
    assert pace.itl_mean_s == 2.0
    assert pace.itl_max_s == 3.0
