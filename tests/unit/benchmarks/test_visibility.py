"""From answers of queries to latencies."""

from __future__ import annotations

import pytest

from benchmarks.core.errors import InexactError
from benchmarks.core.visibility import row_latencies, window_latencies


def test_a_row_is_seen_with_the_first_answer_that_counts_it() -> None:
    seen = [(1_000_000, 0), (2_000_000, 2), (3_000_000, 3)]
    assert row_latencies([500_000, 900_000, 2_900_000], seen) == pytest.approx([1.5, 1.1, 0.1])


def test_rows_that_nobody_saw_are_no_result() -> None:
    with pytest.raises(InexactError, match="2 rows"):
        row_latencies([1, 2], [(5, 1)])
    with pytest.raises(InexactError, match="1 rows"):
        row_latencies([1], [])


def test_a_window_is_seen_once_it_counts_all_its_requests() -> None:
    ends = [1_000_000, 9_000_000, 11_000_000]
    seen = {0: [(12_000_000, 1), (20_000_000, 2)], 10_000_000: [(30_000_000, 1)]}
    found = window_latencies(ends, 10_000_000, seen, until_us=20_000_000)
    assert found == pytest.approx([19.0, 11.0, 19.0])


def test_windows_that_end_late_are_left_out() -> None:
    seen = {0: [(12_000_000, 1)]}
    assert window_latencies([1_000_000, 11_000_000], 10_000_000, seen, 19_999_999) == [11.0]


@pytest.mark.parametrize("seen", [{}, {0: [(12, 1)]}])
def test_a_window_that_never_was_whole_is_no_result(seen: dict[int, list[tuple[int, int]]]) -> None:
    with pytest.raises(InexactError, match="window 0"):
        window_latencies([1, 2], 10, seen, 100)
