"""Which GenAI spans are requests, and what they tell, in the current and the older names."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.event import Operation
from serving.otlp.genai import read_genai
from serving.otlp.span import Kind
from serving.otlp.told import Told
from tests.unit.serving.otlp.world import CHAT, span


def told(attributes: dict[str, Any], **fields: Any) -> Told:
    found = read_genai(span(attributes=attributes, **fields))
    assert found is not None
    return found


def test_the_current_names() -> None:
    found = told(
        CHAT
        | {
            "gen_ai.request.stream": True,
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.finish_reasons": ["stop", "length"],
            "gen_ai.response.time_to_first_chunk": 0.25,
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.usage.cache_read.input_tokens": 64,
            "gen_ai.request.choice.count": 2,
            "server.address": "api.openai.com",
            "server.port": 443,
        }
    )
    assert found == Told(
        source="genai",
        identity=f"{1:032x}/{1:016x}",
        operation=Operation.CHAT,
        provider="openai",
        model="gpt-5",
        model_version="gpt-5-2026-08-01",
        server="api.openai.com:443",
        stream=True,
        request_id="chatcmpl-1",
        finish_reasons=("stop", "length"),
        input_tokens=100,
        cached_input_tokens=64,
        output_tokens=20,
        choices=2,
        ttft_s=0.25,
    )


def test_the_older_names() -> None:
    found = told(
        {
            "gen_ai.system": "Anthropic",
            "llm.request.type": "chat",
            "gen_ai.request.model": "claude",
            "gen_ai.usage.prompt_tokens": 7,
            "gen_ai.usage.completion_tokens": 3,
            "gen_ai.usage.cache_read_input_tokens": 2,
            "llm.is_streaming": False,
            "gen_ai.completion.0.finish_reason": "end_turn",
            "llm.user": "u-1",
        }
    )
    assert found.provider == "anthropic"
    assert (found.input_tokens, found.output_tokens, found.cached_input_tokens) == (7, 3, 2)
    assert (found.stream, found.finish_reasons, found.user_id) == (False, ("end_turn",), "u-1")


def test_what_a_span_does_not_tell_is_unknown_and_never_zero() -> None:
    found = told({"gen_ai.operation.name": "chat"})
    assert found == Told("genai", f"{1:032x}/{1:016x}", Operation.CHAT)


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("chat", Operation.CHAT),
        ("text_completion", Operation.TEXT_COMPLETION),
        ("embeddings", Operation.EMBEDDINGS),
        ("generate_content", Operation.OTHER),
    ],
)
def test_operations_that_ask_a_model_are_requests(name: str, operation: Operation) -> None:
    assert told({"gen_ai.operation.name": name}).operation is operation


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "m"},
        {"gen_ai.operation.name": "create_agent", "gen_ai.system": "openai"},
        {"gen_ai.operation.name": "invoke_workflow"},
        {"gen_ai.operation.name": "retrieval"},
        {"traceloop.span.kind": "workflow", "gen_ai.system": "x", "gen_ai.request.model": "m"},
        {"gen_ai.tool.name": "search", "gen_ai.system": "x", "gen_ai.request.model": "m"},
        {"http.request.method": "POST"},
        {"gen_ai.system": "openai"},
        {"gen_ai.request.model": "m"},
        {"gen_ai.operation.name": 7},
        {},
    ],
    ids=str,
)
def test_what_is_no_request(attributes: dict[str, Any]) -> None:
    assert read_genai(span(attributes=attributes)) is None


def test_without_an_operation_a_call_of_a_model_is_one_and_what_contains_it_is_not() -> None:
    old = {"gen_ai.system": "openai", "gen_ai.request.model": "m"}
    assert told(old).operation is Operation.OTHER
    assert read_genai(span(attributes=old, kind=Kind.INTERNAL)) is None


@pytest.mark.parametrize(
    ("name", "stream", "ttft_s"),
    [
        ("gen_ai.content.completion.chunk", None, 0.5),
        ("llm.content.completion.chunk", True, 0.5),
        ("gen_ai.choice", True, 0.5),
        ("gen_ai.choice", None, None),  # it may be of an answer in one piece
        ("gen_ai.choice", False, None),
        ("something", True, None),
    ],
)
def test_the_first_token_of_a_stream_may_be_an_event(
    name: str, stream: bool | None, ttft_s: float | None
) -> None:
    attributes = dict(CHAT) if stream is None else CHAT | {"gen_ai.request.stream": stream}
    happened = [("gen_ai.user.message", 0.0, {}), (name, 0.5, {}), (name, 0.9, {})]
    assert told(attributes, happened=happened).ttft_s == ttft_s


def test_a_first_token_outside_of_its_span_is_unknown() -> None:
    streamed = CHAT | {"gen_ai.request.stream": True}
    for after_s in (-0.5, 2.5):
        assert told(streamed, happened=[("gen_ai.choice", after_s, {})]).ttft_s is None


@pytest.mark.parametrize(
    ("value", "tokens"),
    [(3, 3), (3.0, 3), (0, 0), (-1, None), (3.5, None), ("3", None), (True, None), (2**40, None)],
)
def test_only_counts_are_counts(value: Any, tokens: int | None) -> None:
    assert told(CHAT | {"gen_ai.usage.input_tokens": value}).input_tokens == tokens


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), 10**400, "1", True, 1e9])
def test_only_durations_are_durations(value: Any) -> None:
    streamed = CHAT | {"gen_ai.request.stream": True}
    assert told(streamed | {"gen_ai.response.time_to_first_chunk": value}).ttft_s is None


def test_a_server_is_named_by_itself_when_the_span_is_its_own() -> None:
    resource = {"service.name": "tgi", "host.name": "gpu-1"}
    assert told(CHAT, resource=resource, kind=Kind.SERVER).server == "gpu-1"
    assert told(CHAT, resource=resource, kind=Kind.CLIENT).server is None


@pytest.mark.parametrize(
    ("base", "server"),
    [
        ("http://127.0.0.1:8800/v1/", "127.0.0.1:8800"),
        ("https://api.openai.com/v1", "api.openai.com"),
        ("https://user:secret@llm.internal:443/v1", "llm.internal:443"),
        ("http://[::1]:8000/v1", "[::1]:8000"),
        ("api.openai.com", None),
        (7, None),
    ],
)
def test_openllmetry_names_the_server_by_a_url(base: object, server: str | None) -> None:
    assert told(CHAT | {"gen_ai.openai.api_base": base}).server == server
