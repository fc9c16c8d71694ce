"""Shares of a change: they sum to all of it, and name the value that carries it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.contribution import Slice, ratio_contributions, sum_contributions, telling


def by_value(slices: list[Slice]) -> dict[str, float]:
    return {one.value: one.share for one in ratio_contributions(slices)}


def test_a_version_that_got_worse_carries_all_of_it() -> None:
    slices = [Slice("v", "v1", 700, 7, 700, 7), Slice("v", "v2", 300, 3, 300, 93)]
    shares = by_value(slices)
    assert shares["v2"] == pytest.approx(1)
    assert shares["v1"] == pytest.approx(0)


def test_traffic_that_moved_to_a_version_that_was_bad_already_counts() -> None:
    slices = [Slice("v", "v1", 900, 0, 100, 0), Slice("v", "v2", 100, 50, 900, 450)]
    shares = by_value(slices)
    assert shares["v2"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


def test_a_version_that_is_new_is_compared_with_the_rest_before() -> None:
    slices = [Slice("v", "v1", 1_000, 10, 500, 5), Slice("v", "v2", 0, 0, 500, 150)]
    assert by_value(slices)["v2"] == pytest.approx(1)


def test_a_value_that_got_better_has_a_negative_share() -> None:
    slices = [Slice("v", "a", 500, 50, 500, 0), Slice("v", "b", 500, 0, 500, 200)]
    shares = by_value(slices)
    assert shares["a"] < 0
    assert shares["b"] > 1


def test_without_a_before_shares_are_of_what_is_bad_now() -> None:
    slices = [Slice("v", "a", 0, 0, 500, 10), Slice("v", "b", 0, 0, 500, 30)]
    assert by_value(slices) == {"a": pytest.approx(0.25), "b": pytest.approx(0.75)}


@pytest.mark.parametrize(
    "slices",
    [
        [],
        [Slice("v", "a", 0, 0, 0, 0)],
        [Slice("v", "a", 500, 5, 0, 0)],  # nothing came: unknown, not well
        [Slice("v", "a", 500, 5, 1_000, 10)],
    ],
)
def test_nothing_is_said_where_nothing_changed_or_came(slices: list[Slice]) -> None:
    assert ratio_contributions(slices) == []


counts = st.integers(0, 10_000)
parts = st.tuples(counts, st.floats(0, 1), counts, st.floats(0, 1)).map(
    lambda x: (x[0], x[0] * x[1], x[2], x[2] * x[3])
)


@given(st.lists(parts, min_size=1, max_size=8))
def test_shares_sum_to_the_whole_change(given_parts: list[tuple[int, float, int, float]]) -> None:
    slices = [Slice("v", str(n), *part) for n, part in enumerate(given_parts)]
    found = ratio_contributions(slices)
    if found:
        whole = math.fsum(one.share for one in found)
        # What is left of a change that nearly cancels out is rounding.
        assert whole == pytest.approx(1, abs=1e-3)
        assert math.fsum(one.traffic for one in found) == pytest.approx(1)


@given(st.lists(parts, min_size=1, max_size=8))
def test_shares_of_a_sum_sum_to_the_whole(given_parts: list[tuple[int, float, int, float]]) -> None:
    slices = [Slice("v", str(n), *part) for n, part in enumerate(given_parts)]
    found = sum_contributions(slices, 600, 300)
    if found:
        assert math.fsum(one.share for one in found) == pytest.approx(1, abs=1e-3)


def test_a_sum_is_compared_by_time() -> None:
    slices = [Slice("f", "chat", 600, 60, 300, 30), Slice("f", "bulk", 0, 0, 10, 90)]
    shares = {one.value: one.share for one in sum_contributions(slices, 600, 300)}
    assert shares == {"chat": pytest.approx(0), "bulk": pytest.approx(1)}


def test_only_what_carries_more_than_its_traffic_is_told() -> None:
    slices = [
        Slice("version", "v1", 700, 7, 700, 7),
        Slice("version", "v2", 300, 3, 300, 93),
        Slice("feature", "chat", 900, 9, 900, 90),  # as much as it has of the requests
        Slice("feature", "bulk", 100, 1, 100, 10),
        Slice("server", "only", 1_000, 10, 1_000, 100),
    ]
    assert [(one.label, one.value) for one in telling(ratio_contributions(slices))] == [
        ("version", "v2")
    ]
