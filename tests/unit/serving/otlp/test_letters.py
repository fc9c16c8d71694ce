"""Dead letters of spans."""

from __future__ import annotations

import orjson

from schemas.dead_letter import DeadLetter, DeadLetterReason
from serving.otlp.letters import letter_of
from serving.otlp.sort import Refused
from serving.otlp.span import Span
from tests.support.events import NOW_US
from tests.unit.serving.otlp.world import CHAT, span


def letter(one: Span) -> DeadLetter:
    return letter_of(Refused(one, DeadLetterReason.TIME_IN_FUTURE, "too late"), NOW_US)


def test_it_says_why_and_where_from() -> None:
    made = letter(span(7, resource={"service.name": "web"}))
    assert made.reason is DeadLetterReason.TIME_IN_FUTURE
    assert made.detail == f"too late (trace {7:032x}, span {7:016x}, service web)"
    assert (made.topic, made.partition, made.offset) == ("otlp.traces", 0, 7)
    assert orjson.loads(made.payload)["attributes"]["gen_ai.request.model"] == "gpt-5"
    # What is sent is what the store's sink reads.
    assert DeadLetter.model_validate_json(made.to_json()) == made


def test_the_place_is_the_spans_and_of_those_without_an_id_their_own() -> None:
    assert letter(span(7)).offset == letter(span(7)).offset != letter(span(8)).offset
    one, other = (letter(span(number, span_id="")).offset for number in (1, 2))
    assert one != other
    assert letter(span(1, span_id="f" * 16)).offset == 2**64 - 1


def test_nothing_that_somebody_has_said_is_in_it() -> None:
    texts = {
        "gen_ai.prompt": "secret",
        "gen_ai.prompt.0.content": "secret",
        "gen_ai.completion.0.content": "secret",
        "gen_ai.input.messages": "secret",
        "gen_ai.output.messages": "secret",
        "gen_ai.system_instructions": "secret",
        "gen_ai.tool.call.arguments": "secret",
        "input.value": "secret",
        "output.value": "secret",
        "llm.input_messages.0.message.content": "secret",
        "llm.output_messages.0.message.content": "secret",
        "llm.prompts.0.prompt.text": "secret",
        "llm.choices.0.completion.text": "secret",
        "gen_ai.systems": "secret",
        "user.id": "secret",
        "anything": "secret",
        "traceloop.entity.input": "secret",
        "exception.message": "secret",
        "embedding.embeddings.0.embedding.text": "secret",
        "structure": {"gen_ai.prompt": "secret"},
    }
    happened = [("gen_ai.user.message", 0.1, {"content": "secret"})]
    made = letter(span(attributes=CHAT | texts, happened=happened))
    assert b"secret" not in made.payload
    assert "secret" not in made.detail


def test_its_size_is_bounded() -> None:
    many = {f"tocsin.{number}": "x" * 10_000 for number in range(1_000)}
    made = letter(span(attributes=many, name="n" * 10_000, resource={"service.name": "s" * 9_000}))
    assert len(made.payload) == 65_536 < made.payload_size
    assert len(made.detail) < 2_000
