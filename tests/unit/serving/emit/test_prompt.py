"""The text policy: by default nothing leaves; what does is redacted before it is cut."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from schemas.settings import EmitSettings
from serving.emit.prompt import TextPolicy


def test_nothing_by_default() -> None:
    policy = TextPolicy.from_settings(EmitSettings())
    assert not policy.wants_prompt
    assert policy.room == 0
    assert set(policy.fields("secret", "secret", truncated=False).values()) == {None}


def test_hashes() -> None:
    plain = TextPolicy(hashed=True)
    keyed = TextPolicy(hashed=True, key=b"k")
    assert plain.hash("a") == hashlib.sha256(b"a").hexdigest()
    assert keyed.hash("a") == hmac.new(b"k", b"a", hashlib.sha256).hexdigest()
    fields = keyed.fields("a", "b", truncated=False)
    assert fields == {
        "prompt_hash": keyed.hash("a"),
        "prompt_redacted": None,
        "output_redacted": None,
    }
    assert keyed.fields(None, "", truncated=False)["prompt_hash"] is None


def test_capture_redacts() -> None:
    policy = TextPolicy(capture=True, chars=100)
    fields = policy.fields("I am a@b.example", "and I 4111111111111111", truncated=False)
    assert fields["prompt_redacted"] == "I am [EMAIL]"
    assert fields["output_redacted"] == "and I [CARD]"
    assert fields["prompt_hash"] is None


@given(st.integers(0, 60), st.integers(0, 400))
def test_a_secret_at_the_cut_is_not_shown_in_half(chars: int, before: int) -> None:
    policy = TextPolicy(capture=True, chars=chars)
    text = "x" * before + " 4111 1111 1111 1111 " + "y" * 400
    safe = policy.fields(text, text[: policy.room], truncated=True)
    for name in ("prompt_redacted", "output_redacted"):
        shown = safe[name]
        assert shown is not None
        assert "4111" not in shown
        assert len(shown) <= chars


def test_what_redacting_takes_away_is_not_made_up_for() -> None:
    policy = TextPolicy(capture=True, chars=1_000)
    shown = policy.fields("a@b.example " * 200, "", truncated=False)["prompt_redacted"]
    assert shown is not None
    assert set(shown.split()) <= {"[EMAIL]", "[EMAIL", "[EMAI", "[EMA", "[EM", "[E", "["}
    assert 0 < len(shown) < 1_000
