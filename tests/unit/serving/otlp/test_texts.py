"""Prompts and answers, in the shapes that SDKs send them in."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from serving.otlp.texts import output_in, prompt_in
from tests.unit.serving.otlp.world import CHAT, World, span

PARTS = [
    {"role": "system", "parts": [{"type": "text", "content": "be kind"}]},
    {"role": "user", "parts": [{"type": "text", "content": "hello"}, {"type": "blob"}]},
]
FLAT = {
    "gen_ai.prompt.0.role": "system",
    "gen_ai.prompt.0.content": "be kind",
    "gen_ai.prompt.10.content": "hello",
    "gen_ai.completion.0.content": "hi",
}
OPEN = {
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "be kind",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.content": "hello",
    "llm.output_messages.0.message.content": "hi",
    "input.value": "{}",
}


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.input.messages": orjson.dumps(PARTS).decode()},
        {"gen_ai.input.messages": PARTS},
        FLAT,
        OPEN,
    ],
)
def test_messages(attributes: dict[str, Any]) -> None:
    assert prompt_in(attributes) == "system: be kind\nuser: hello"


def test_answers() -> None:
    said = [{"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}]
    assert output_in({"gen_ai.output.messages": orjson.dumps(said).decode()}) == "hi"
    assert output_in(FLAT) == "hi"
    assert output_in(OPEN) == "hi"
    assert output_in({"output.value": "hi"}) == "hi"


def test_nothing_is_unknown() -> None:
    assert prompt_in(CHAT) is None
    assert output_in(CHAT) is None


def test_nothing_of_a_text_is_kept_unless_capture_is_on() -> None:
    texts = CHAT | FLAT | {"gen_ai.prompt.1.content": "mail me: a@example.com"}
    world = World()
    world.send(span(attributes=texts))
    (event,) = world.taking.events
    assert (event.prompt_redacted, event.output_redacted, event.prompt_hash) == (None,) * 3
    assert b"be kind" not in event.to_json()


def test_with_capture_on_it_is_redacted_as_everywhere() -> None:
    texts = CHAT | FLAT | {"gen_ai.prompt.1.content": "mail me: a@example.com"}
    world = World(emit={"capture_text": True, "prompt_hash": True})
    world.send(span(attributes=texts), span(2))
    with_text, without = world.taking.events
    assert with_text.prompt_redacted is not None
    assert "[EMAIL]" in with_text.prompt_redacted
    assert "example.com" not in with_text.prompt_redacted
    assert with_text.output_redacted == "hi"
    assert with_text.prompt_hash is not None
    assert (without.prompt_redacted, without.output_redacted, without.prompt_hash) == (None,) * 3
