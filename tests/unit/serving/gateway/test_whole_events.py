"""Streams are passed on in whole events, and what is not for the client is taken out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.emit.joined import FACTS_MARK
from serving.gateway.whole_events import EndlessEventError, WholeEvents
from tests.support.upstream import DONE, piece

USAGE = b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'
FACTS = FACTS_MARK + b'{"engine":{"queue_s":0.5}}\n\n'


def fed(events: WholeEvents, *chunks: bytes) -> bytes:
    return b"".join(events.feed(chunk) for chunk in chunks) + events.rest()


def test_a_whole_chunk_passes_untouched() -> None:
    chunk = piece() + piece()
    assert WholeEvents(usage=True, facts=True).feed(chunk) is chunk


def test_a_part_of_an_event_is_held() -> None:
    events = WholeEvents()
    assert events.feed(piece() + b"data: {") == piece()
    assert events.feed(b'"id"') == b""
    assert events.feed(b": 1}\n\ndata") == b'data: {"id": 1}\n\n'
    assert events.rest() == b"data"
    assert WholeEvents().feed(b"x\n\ny") == b"x\n\n"
    assert WholeEvents().feed(b"\n\ny") == b"\n\n"


@given(st.data())
def test_cuts_change_nothing(data: st.DataObject) -> None:
    text = data.draw(
        st.sampled_from(
            [piece() + piece() + DONE, b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", b": c\n\nx"]
        )
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    events = WholeEvents(usage=True, facts=True)
    passed = [events.feed(chunk) for chunk in chunks]
    assert b"".join(passed) + events.rest() == text
    assert all(not part or part.endswith((b"\n\n", b"\r\n\r\n")) for part in passed)


@given(st.lists(st.integers(0, 400), max_size=5))
def test_usage_and_facts_are_taken_out_however_they_are_cut(cuts: list[int]) -> None:
    text = piece() + USAGE + DONE + FACTS
    places = sorted(min(c, len(text)) for c in cuts)
    chunks = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    events = WholeEvents(usage=True, facts=True)
    assert fed(events, *chunks) == piece() + DONE
    assert events.usage == {"prompt_tokens": 5, "completion_tokens": 2}
    assert events.facts == b'{"engine":{"queue_s":0.5}}'


@pytest.mark.parametrize(
    "chunk",
    [
        piece(usage={"prompt_tokens": 1}),  # beside output
        b'data: {"choices":[],"usage":null,"prompt_filter_results":[]}\n\n',
        b'data: {"choices":[],"usage": {broken\n\n',
    ],
)
def test_what_says_more_than_the_usage_stays(chunk: bytes) -> None:
    assert fed(WholeEvents(usage=True), chunk) == chunk


def test_the_usage_stays_for_a_client_that_asked() -> None:
    assert fed(WholeEvents(facts=True), USAGE) == USAGE
    assert fed(WholeEvents(), FACTS) == FACTS


def test_an_event_without_end_is_not_held_for_ever() -> None:
    events = WholeEvents(limit=1_000)
    for _ in range(10):
        assert events.feed(b"x" * 100) == b""
    with pytest.raises(EndlessEventError):
        events.feed(b"x")
