"""Durations, conditions, templates and matchers as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.rules.condition import Condition
from alerting.rules.duration import format_duration, parse_duration
from alerting.rules.scope import Matcher
from alerting.rules.template import render_template


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("15m", 900), ("4h", 14_400), ("1h30m", 5_400), ("1d", 86_400), ("0s", 0),
     ("0.5s", 0.5), ("250ms", 0.25), (0, 0)],
)  # fmt: skip
def test_durations_are_read(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5", "30m1h", "1 h", "-1s", "1e3s", None, 5, 1.5, True])
def test_other_texts_are_no_durations(text: object) -> None:
    with pytest.raises(ValueError, match=r"no duration|is negative"):
        parse_duration(text)


@given(st.integers(0, 86_400 * 300))
def test_written_durations_are_read_back_within_their_two_units(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) <= seconds
    assert parse_duration(format_duration(seconds)) >= seconds * 0.95


def test_short_and_negative_durations_are_written_too() -> None:
    assert format_duration(0.25) == "0.25s"
    assert format_duration(-90) == "-1m30s"


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [("> 5%", 0.05, False), ("> 5%", 0.051, True), (">= 5", 5, True), ("<15", 14.9, True),
     ("<= 1", 1.1, False), ("value > 1", 2, True)],
)  # fmt: skip
def test_conditions(text: str, value: float, holds: bool) -> None:
    assert Condition.parse(text).holds(value, {}) is holds


def test_a_condition_on_what_is_unknown_is_unknown() -> None:
    assert Condition.parse("> 1").holds(None, {}) is None
    assert Condition.parse("detail.x > 1").holds(5, {}) is None
    assert Condition.parse("detail.x > 1").holds(None, {"x": 2}) is True


@given(
    st.sampled_from([">", ">=", "<", "<="]),
    st.sampled_from([">", ">=", "<", "<="]),
    st.integers(-3, 3),
    st.integers(-3, 3),
)
def test_conditions_exclude_each_other_exactly_when_no_value_fulfils_both(
    one: str, two: str, low: int, high: int
) -> None:
    first, second = Condition.parse(f"{one} {low}"), Condition.parse(f"{two} {high}")
    grid = [value / 4 for value in range(-40, 41)]
    both = any(first.holds(value, {}) and second.holds(value, {}) for value in grid)
    assert first.excludes(second) is not both


def test_templates_say_unknown_for_what_is_not_known() -> None:
    text = render_template("{a} {b:.1%} {c}|{d:.0f}", {"a": "", "b": None, "d": 3})
    assert text == "unknown unknown unknown|3"


def test_labels_are_never_templates() -> None:
    assert render_template("{a}", {"a": "{value.__class__}"}) == "{value.__class__}"


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [("a=x", "x", True), ("a=x", "xx", False), ("a!=x", "x", False), ("a=~x|y", "y", True),
     ("a=~x|y", "xy", False), ("a!~x.*", "xy", False), ('a="x.y"', "x.y", True),
     ("a=x.y", "xzy", False), ("a!=x", "", True)],
)  # fmt: skip
def test_matchers(text: str, value: str, found: bool) -> None:
    assert Matcher.parse(text).matches({"a": value}) is found
