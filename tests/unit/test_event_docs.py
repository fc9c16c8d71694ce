from __future__ import annotations

from schemas.dead_letter import DeadLetterReason
from schemas.event import RequestEvent
from schemas.meanings import DEAD_LETTER_MEANINGS, FIELD_MEANINGS
from schemas.otel import OTEL_NAMES
from tests.support.event_docs import EVENTS_PAGE, render


def test_the_page_is_in_step_with_the_schemas() -> None:
    assert EVENTS_PAGE.read_text() == render(), "run: python -m tests.support.event_docs"


def test_every_field_has_a_term_and_a_meaning_and_nothing_else_has() -> None:
    assert list(FIELD_MEANINGS) == list(OTEL_NAMES) == list(RequestEvent.model_fields)
    assert list(DEAD_LETTER_MEANINGS) == list(DeadLetterReason)
    assert all(meaning.endswith(".") for meaning in FIELD_MEANINGS.values())


def test_standard_terms_are_not_used_twice() -> None:
    assert len(set(OTEL_NAMES.values())) == len(OTEL_NAMES)
