"""Redaction: what has a shape goes, what only looks a little like it stays."""

from __future__ import annotations

import ipaddress
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.emit.redact import is_card_number, is_iban, redact

plain = ["the", "bell", "rings", "when", "nobody", "answers", "a", "page"]
words = st.lists(st.sampled_from(plain)).map(" ".join)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("mail bob.smith+x@example.co.uk now", "mail [EMAIL] now"),
        ("<ann@exämple.de>", "<[EMAIL]>"),
        ("4111 1111 1111 1111", "[CARD]"),
        ("4111-1111-1111-1111.", "[CARD]."),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),  # wrong check digit
        ("DE89 3704 0044 0532 0130 00 is mine", "[IBAN] is mine"),
        ("(GB82WEST12345698765432)", "([IBAN])"),
        ("GB83WEST12345698765432", "GB83WEST12345698765432"),
        ("from 192.168.1.1, 2001:db8::1 and ::1", "from [IP], [IP] and [IP]"),
        ("at 12:30:45 in 999.1.1.1 v1.2.3.4.5", "at 12:30:45 in 999.1.1.1 v1.2.3.4.5"),
        ("+49 170 1234567 or (030) 123456-78", "[PHONE] or [PHONE]"),
        ("555-123-4567 or 0151/23456789", "[PHONE] or [PHONE]"),
        ("2024-01-15 and 1000000 and 3.14159265", "2024-01-15 and 1000000 and 3.14159265"),
        ("key sk-proj-abcdefghijklmnop1234", "key [SECRET]"),
        ("ghp_" + "a1" * 18, "[SECRET]"),
        ("AKIAIOSFODNN7EXAMPLE", "[SECRET]"),
        ("password: hunter22 token=abc123def", "password: [SECRET] token=[SECRET]"),
        ('{"api_key": "abcdefgh"}', '{"api_key": "[SECRET]"}'),
        ("Authorization: Bearer abcdef1234567", "Authorization: Bearer [SECRET]"),
        ("postgres://user:pw@db/x", "postgres://[SECRET]@db/x"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- a", "[SECRET] a"),
        ("-----BEGIN PRIVATE KEY-----\nMII cut off", "[SECRET]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "[SECRET]"),
        ("the token bearer of the secret", "the token bearer of the secret"),
        ("", ""),
    ],
)
def test_examples(text: str, safe: str) -> None:
    assert redact(text) == safe


@given(words)
def test_plain_words_stay(text: str) -> None:
    assert redact(text) == text


@given(st.text())
def test_any_text_is_survived(text: str) -> None:
    assert len(redact(text)) <= 2 * len(text)  # a placeholder is no longer than twice what it hides


@given(
    words,
    st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20),
    st.text(string.ascii_lowercase, min_size=2, max_size=10),
    words,
)
def test_no_email_survives(before: str, user: str, host: str, after: str) -> None:
    address = f"{user}@{host}.example"
    assert address not in redact(f"{before} {address} {after}")


def _card(body: str) -> str:
    return next(body + d for d in string.digits if is_card_number(body + d))


@given(words, st.text("0123456789", min_size=12, max_size=18), st.sampled_from(["", " ", "-"]))
def test_no_card_survives(before: str, body: str, separator: str) -> None:
    number = _card(body)
    written = separator.join(number[i : i + 4] for i in range(0, len(number), 4))
    safe = redact(f"{before} {written} please")
    assert written not in safe
    assert number not in safe.replace(" ", "").replace("-", "")


@given(st.text(string.ascii_uppercase + string.digits, min_size=11, max_size=30), st.booleans())
def test_no_iban_survives(body: str, grouped: bool) -> None:
    check = next(n for n in range(2, 99) if is_iban(f"DE{n:02}{body}"))
    iban = f"DE{check:02}{body}"
    written = " ".join(iban[i : i + 4] for i in range(0, len(iban), 4)) if grouped else iban
    safe = redact(f"pay to {written}.")
    assert "[" in safe
    assert written not in safe


@given(st.ip_addresses())
def test_no_address_survives(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assume(str(address) != "::")
    assert str(address) not in redact(f"from {address} to here")


@given(st.text("0123456789", min_size=6, max_size=12))
def test_no_international_number_survives(number: str) -> None:
    assert number not in redact(f"call +49 {number} now")


@pytest.mark.parametrize(
    "evil",
    [
        *("a", "1", "1 ", ":", "a.", "a:", "DE89 ", "@", "a@", "-", "1.", "(1", "::1 ", "://a:"),
        *("-----BEGIN PRIVATE KEY", "bearer ", 'password:"', "eyJaaaaaaaaaaaaaa.", "a@a.", "+1 "),
    ],
)
def test_hostile_texts(evil: str) -> None:
    """A pattern that backtracks without end would hang here for hours."""
    assert redact((evil * 40_000)[:40_000])
