"""The translation beside Anthropic's own package: its types take our requests, and its client sees
in the same answers what OpenAI's client sees through the gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from pydantic import TypeAdapter

from serving.gateway.anthropic.request import to_request
from tests.support.anthropic import (
    ERROR_STATUS,
    TOOLS,
    error_body,
    events_of,
    message,
    sse,
    text,
    tool_use,
)
from tests.support.gateway import CHAT, file_of, running_gateway
from tests.support.upstream import Upstream, ok, running_upstream, stream

anthropic = pytest.importorskip("anthropic")

CALL = {
    "id": "c-1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bern"}'},
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
IMAGE = "data:image/png;base64,iVBORw0KGgo="
REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "max_tokens": 5,
        "stop": ["END"],
        "user": "u-1",
        "service_tier": "auto",
        "tools": TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
        "stream": True,
    },
    "a conversation": {
        "tools": TOOLS,
        "tool_choice": "required",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "Bern?"},
            {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c-1", "content": [{"type": "text", "text": "rain"}]},
            {"role": "user", "content": "thanks"},
        ],
    },
    "images and files": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
                    {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
                    {"type": "image_url", "image_url": {"url": IMAGE}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg=="}},
                ],
            }
        ]
    },
}

ANSWERS = {
    "text": message(text("It rains in Bern."), cache_read_input_tokens=100),
    "tools": message(
        text("I look."),
        tool_use("now", {}),
        tool_use("weather", {"city": "Bern", "days": [1, 2]}, 2),
        stop="tool_use",
    ),
    "cut short": message(text("It"), stop="max_tokens", cache_creation_input_tokens=7),
}
FINISH = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length"}


def walked(value: object) -> Iterator[object]:
    """Go through a validated value to its end: pydantic looks at the items of iterables lazily."""
    yield value
    if isinstance(value, Mapping):
        for item in value.values():
            yield from walked(item)
    elif not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        for item in value:
            yield from walked(item)


@pytest.mark.parametrize("case", REQUESTS)
def test_its_types_take_our_requests(case: str) -> None:
    types = anthropic.types.message_create_params
    asked = {**CHAT, **REQUESTS[case]}
    kind = "MessageCreateParamsStreaming" if asked.get("stream") else "MessageCreateParamsBase"
    made = {"model": "m"} | to_request(asked, max_tokens=9)
    adapter = TypeAdapter(getattr(types, kind))
    known = set(getattr(types, kind).__annotations__) | set(
        types.MessageCreateParamsBase.__annotations__
    )
    assert set(made) <= known
    assert list(walked(adapter.validate_python(made)))


def test_its_types_would_not_take_anything() -> None:
    adapter = TypeAdapter(anthropic.types.message_create_params.MessageCreateParamsBase)
    wrong = [{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]
    with pytest.raises(ValueError, match="source"):
        list(walked(adapter.validate_python({"model": "m", "max_tokens": 1, "messages": wrong})))


def file_for(upstream: Upstream) -> dict[str, Any]:
    file = file_of(upstream)
    file["upstreams"]["u0"]["api"] = "anthropic"
    return file


async def directly(upstream: Upstream, *, streaming: bool) -> dict[str, Any]:
    """Return what Anthropic's client sees."""
    client = anthropic.AsyncAnthropic(
        base_url=upstream.url.removesuffix("/v1"), api_key="none", max_retries=0
    )
    asked: Any = {"model": "m", "max_tokens": 9, "messages": CHAT["messages"]}
    async with client:
        if streaming:
            async with client.messages.stream(**asked) as running:
                found = await running.get_final_message()
        else:
            found = await client.messages.create(**asked)
    # What its lenient client accepts has to be right by its own types as well.
    whole = anthropic.types.Message.model_validate(found.model_dump(), strict=True)
    usage = whole.usage
    read, made = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return {
        "id": whole.id,
        "model": whole.model,
        "content": "".join(block.text for block in whole.content if block.type == "text"),
        "calls": [(b.id, b.name, b.input) for b in whole.content if b.type == "tool_use"],
        "finish": FINISH[whole.stop_reason],
        "usage": (usage.input_tokens + read + made, usage.output_tokens, read, made),
    }


async def through(url: str, *, streaming: bool) -> dict[str, Any]:
    """Return what OpenAI's client sees."""
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    async with client:
        if streaming:
            more: Any = {**CHAT, "stream_options": {"include_usage": True}}
            found: Any
            try:
                async with client.chat.completions.stream(**more) as running:
                    found = await running.get_final_completion()
            except openai.LengthFinishReasonError as cut:  # which it makes of every such stream
                found = cut.completion
        else:
            found = await client.chat.completions.create(**CHAT)
    [choice] = found.choices
    calls = choice.message.tool_calls or ()
    usage = found.usage
    return {
        "id": found.id,
        "model": found.model,
        "content": choice.message.content,
        "calls": [(c.id, c.function.name, orjson.loads(c.function.arguments)) for c in calls],
        "finish": choice.finish_reason,
        "usage": (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.prompt_tokens_details.cached_tokens,
            usage.prompt_tokens_details.cache_write_tokens,
        ),
    }


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("case", ANSWERS)
async def test_both_clients_see_the_same(tmp_path: Path, case: str, streaming: bool) -> None:
    whole = ANSWERS[case]
    act = stream(*map(sse, events_of(whole))) if streaming else ok(orjson.dumps(whole))
    async with (
        running_upstream(act) as up,
        running_gateway(tmp_path, file_for(up)) as gateway,
    ):
        assert await directly(up, streaming=streaming) == await through(
            gateway.url, streaming=streaming
        )


@pytest.mark.parametrize("kind", ERROR_STATUS)
async def test_both_clients_raise_the_same(tmp_path: Path, kind: str) -> None:
    """Where the gateway says it in its own words, the key or the model there is its own affair."""
    act = ok(error_body(kind), status=ERROR_STATUS[kind])
    async with (
        running_upstream(act) as up,
        running_gateway(tmp_path, file_for(up)) as gateway,
    ):
        with pytest.raises(anthropic.APIStatusError) as direct:
            await directly(up, streaming=False)
        with pytest.raises(openai.APIStatusError) as seen:
            await through(gateway.url, streaming=False)
    own = {"authentication_error", "billing_error", "permission_error"}
    if kind in own:
        assert (seen.value.status_code, seen.value.type) == (502, "upstream_refused_key")
    else:
        assert seen.value.type == direct.value.type == kind
        assert (seen.value.status_code, direct.value.status_code) in [
            (ERROR_STATUS[kind],) * 2,
            (503, 529),
        ]
