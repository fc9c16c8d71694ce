"""What a silence mutes, for how long, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerting.silence import Silence, alert_labels, silenced_by
from schemas.command import CommandVia, SilenceCommand

LABELS = alert_labels("error-rate", "error", {"model": "llama", "plan": "pro"})


def asked(*matchers: str, **changes: Any) -> SilenceCommand:
    data: dict[str, Any] = {
        "schema_version": 1,
        "command_id": "c-1",
        "by": "alice",
        "via": CommandVia.API,
        "reason": "planned",
        "at_us": 100,
        "subject": "s-1",
        "matchers": matchers,
        "starts_us": 100,
        "ends_us": 200,
    }
    return SilenceCommand(**{**data, **changes})


@pytest.mark.parametrize(
    ("matchers", "covers"),
    [
        (("model=llama",), True),
        (("model=llam",), False),
        (("model!=gpt", "plan=pro"), True),
        (("model=~ll.*",), True),
        (("model=~lam",), False),  # the whole value
        (("model=llama", "plan!~pro|team"), False),
        (("rule=error-rate", "severity=~error|critical"), True),
        (("feature=chat",), False),
        (("model=llama", "feature="), True),  # a missing label counts as empty
    ],
)
def test_all_matchers_must_hold(matchers: tuple[str, ...], covers: bool) -> None:
    assert Silence.asked(asked(*matchers)).covers(LABELS) is covers


@pytest.mark.parametrize("matchers", [("feature=",), ("model!=x",), ("model=~.*", "plan!~x")])
def test_a_silence_of_everything_is_refused(matchers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="match every alert"):
        Silence.asked(asked(*matchers))


@pytest.mark.parametrize("matcher", ["model", "=x", "model=~["])
def test_what_is_no_matcher_is_refused(matcher: str) -> None:
    with pytest.raises(ValueError, match=r"no matcher|regular expression"):
        Silence.asked(asked(matcher))


def test_a_silence_needs_time_matchers_and_a_reason() -> None:
    for wrong in ({"ends_us": 100}, {"matchers": ()}, {"reason": ""}):
        with pytest.raises(ValidationError):
            asked("model=llama", **wrong)


def test_it_holds_from_its_start_up_to_its_end_and_can_be_ended_sooner() -> None:
    silence = Silence.asked(asked("model=llama"))
    assert [silence.active(at) for at in (99, 100, 199, 200)] == [False, True, True, False]
    ended = silence.ended(150)
    assert (ended.active(149), ended.active(150)) == (True, False)
    assert ended.ended(180) == ended
    assert not silence.ended(50).active(100)


@given(st.integers(0, 300))
def test_only_a_silence_that_says_so_mutes_actions(now_us: int) -> None:
    people = Silence.asked(asked("model=llama"))
    both = Silence.asked(asked("plan=pro", subject="s-2", mutes_actions=True, ends_us=150))
    silences = [people, both]
    muting = silenced_by(silences, LABELS, now_us)
    assert muting == (people if 100 <= now_us < 200 else None)
    acting = silenced_by(silences, LABELS, now_us, actions=True)
    assert acting == (both if 100 <= now_us < 150 else None)


def test_it_is_the_same_after_json() -> None:
    silence = Silence.asked(asked("model=~ll.*", "plan!=x"))
    assert Silence.model_validate_json(silence.to_json()) == silence
