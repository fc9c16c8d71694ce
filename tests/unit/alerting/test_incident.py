"""What a page says, and that nothing in a label can break out of its query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.incident import format_value
from alerting.intent import NotificationIntent
from alerting.sql import incident_sql, quote
from schemas.signal import SIGNALS, SignalName
from tests.unit.alerting.drive import EPOCH_US, LABELS, Drive, rule_of


def test_a_page_says_what_since_when_how_bad_and_what_comes_next() -> None:
    drive = Drive(
        rule_of(description="{value:.1%} of {samples} over {over}, more than {threshold:.0%}")
    )
    drive.run(0, 70, 0.5, samples=400)
    intent = drive.intents[-1]
    assert intent.description == "50.0% of 400 over 1m, more than 1%"
    assert intent.threshold == "> 1.00%"
    assert intent.samples == 400
    assert intent.firing_since_us == EPOCH_US
    assert [note.text for note in intent.history] == [
        "fired: error_rate > 0.01 over 1m",
        "rollback asked for (2 of 3 steps)",
    ]
    (planned,) = intent.plan
    assert planned.at_us == EPOCH_US + 180_000_000
    assert "act: fallback, when > 0.05" in planned.text
    assert intent.advice == "Check the provider."


def test_annotations_are_rendered_as_the_title_is() -> None:
    annotations = {"team": "inference", "note": "{model_version}: {value:.0%}, usually {baseline}"}
    drive = Drive(rule_of(annotations=annotations, keep_firing_for="1m"))
    drive.see(0, 0.5)
    drive.see(10, 0.0)
    drive.run(20, 80, 0.0)
    first, last = drive.intents[0], drive.intents[-1]
    assert first.annotations == {"team": "inference", "note": "v2: 50%, usually unknown"}
    assert last.event == "resolve"
    assert last.annotations == first.annotations  # what broke, also once it is over


def test_the_plan_says_by_which_metric_and_when_an_action_is_judged() -> None:
    drive = Drive(rule_of())
    drive.see(0, 0.5)
    (rollback, _) = drive.intents[-1].plan
    assert rollback.text.endswith(
        "needs 100 samples; undone unless error_rate over 1m is no longer > 1.00% within 5m"
    )


def test_while_an_action_is_on_trial_its_undo_is_announced() -> None:
    drive = Drive(rule_of())
    drive.run(0, 70, 0.5)
    drive.answer(at=60)
    assert drive.intents[-1].plan[0].at_us == EPOCH_US + 360_000_000
    assert "undo rollback" in drive.intents[-1].plan[0].text


def test_an_intent_goes_through_json() -> None:
    drive = Drive(rule_of())
    drive.run(0, 70, 0.5)
    for intent in drive.intents:
        assert NotificationIntent.model_validate_json(intent.to_json()) == intent


def test_a_resolution_plans_and_advises_nothing() -> None:
    drive = Drive(rule_of())
    drive.see(0, 0.5)
    drive.see(10, 0.0)
    assert drive.intents[-1].plan == ()
    assert drive.intents[-1].advice is None


def test_the_history_of_a_long_incident_keeps_its_beginning_and_stays_bounded() -> None:
    drive = Drive(rule_of(keep_firing_for="1h", ladder=[
        {"name": f"s{number}", "after": f"{number * 10}s", "notify": "x"} for number in range(80)
    ]))  # fmt: skip
    drive.run(0, 900, 0.5)
    history = drive.intents[-1].history
    assert len(history) == 40
    assert history[0].text.startswith("fired")
    assert history[-1].text.startswith("s79")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(None, "s", "unknown"), (0.0123, "ratio", "1.23%"), (2.5, "x", "2.50x"), (1.5, "s", "1.5 s")],
)
def test_values_with_units(value: float | None, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def _unquote(literal: str) -> str:
    """Read a ClickHouse string literal the way its lexer does; raise when it ends early."""
    assert literal[0] == literal[-1] == "'"
    names = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "0": "\0"}
    out, index = "", 1
    while index < len(literal) - 1:
        char = literal[index]
        assert char != "'", "the literal ends early"
        if char == "\\":
            index += 1
            char = names.get(literal[index], literal[index])
            assert index < len(literal) - 1, "the closing quote is escaped"
        out += char
        index += 1
    return out


@given(st.text())
def test_a_quoted_text_is_one_literal_of_that_text(text: str) -> None:
    assert _unquote(quote(text)) == text


@pytest.mark.parametrize("signal", SIGNALS)
def test_every_signal_has_a_query_that_speaks_of_the_series(signal: SignalName) -> None:
    sql = incident_sql(signal, {**LABELS, "feature": "o'hara"}, EPOCH_US, 300)
    assert "2023-11-14 22:08:20" in sql  # one lookback before the incident
    if "FROM engine_samples" in sql:
        assert "'llama'" in sql
    elif signal is not SignalName.WATERMARK_LAG:
        assert "'v2'" in sql
        assert "'o\\'hara'" in sql
