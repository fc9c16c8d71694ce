"""Anthropic's answers in OpenAI's words: whole, in events however they are cut, and broken."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from serving.gateway.anthropic.translator import AnthropicTranslator
from serving.gateway.dialect import GarbageError
from tests.support.anthropic import (
    ERROR_STATUS,
    error_body,
    events_of,
    message,
    sse,
    text,
    tool_use,
)

THOUGHT = {"type": "thinking", "thinking": "hm, hm, a city", "signature": "c2ln"}
ANSWERS = {
    "text": message(text("It rains in Bern.")),
    "a tool": message(
        text("I look."), tool_use("weather", {"city": "Bern", "days": [1, 2]}), stop="tool_use"
    ),
    "two tools, one without input": message(
        tool_use("now", {}), tool_use("weather", {"city": "Rome"}, 2), stop="tool_use"
    ),
    "thoughts": message(THOUGHT, text("Rain."), output_tokens_details={"thinking_tokens": 6}),
    "cached": message(
        text("x"), cache_read_input_tokens=100, cache_creation_input_tokens=40, stop="max_tokens"
    ),
    "refused": message(stop="refusal"),
}


def translator() -> AnthropicTranslator:
    return AnthropicTranslator(lambda: 5_000_000_000)


def parsed(stream: bytes) -> list[dict[str, Any]]:
    *events, done, rest = stream.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [orjson.loads(event.removeprefix(b"data: ")) for event in events]


def gathered(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the pieces of a stream together as a client does."""
    content, thoughts, reason, usage = "", "", None, None
    calls: list[dict[str, Any]] = []
    for chunk in chunks:
        assert (chunk["id"], chunk["created"], chunk["model"]) == ("msg_01", 5, "claude-test")
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            reason = choice["finish_reason"] or reason
            delta = choice["delta"]
            content += delta.get("content") or ""
            thoughts += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(calls):
                    calls.append({**call, "function": dict(call["function"])})
                else:
                    function = calls[call["index"]]["function"]
                    function["arguments"] += call["function"]["arguments"]
    for call in calls:
        del call["index"]
    return {"content": content, "thoughts": thoughts, "calls": calls, "end": (reason, usage)}


def of_whole(completion: dict[str, Any]) -> dict[str, Any]:
    [choice] = completion["choices"]
    said = choice["message"]
    return {
        "content": said["content"] or "",
        "thoughts": said.get("reasoning_content", ""),
        "calls": said.get("tool_calls", []),
        "end": (choice["finish_reason"], completion["usage"]),
    }


def test_an_answer_in_one_piece() -> None:
    body = translator().whole(orjson.dumps(ANSWERS["a tool"]))
    assert body is not None
    found = orjson.loads(body)
    [choice] = found.pop("choices")
    assert found == {
        "id": "msg_01",
        "object": "chat.completion",
        "created": 5,
        "model": "claude-test",
        "usage": {
            "prompt_tokens": 25,
            "completion_tokens": 15,
            "total_tokens": 40,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        },
    }
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "I look."
    [call] = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city":"Bern","days":[1,2]}'}


def test_cached_tokens_are_prompt_tokens() -> None:
    body = translator().whole(orjson.dumps(ANSWERS["cached"]))
    usage = orjson.loads(body or b"")["usage"]
    assert usage == {
        "prompt_tokens": 165,
        "completion_tokens": 15,
        "total_tokens": 180,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 40},
    }


@pytest.mark.parametrize(
    ("stop", "wanted"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("a_reason_of_tomorrow", "a_reason_of_tomorrow"),
    ],
)
def test_why_it_ended(stop: str, wanted: str) -> None:
    body = translator().whole(orjson.dumps(message(text("x"), stop=stop)))
    assert orjson.loads(body or b"")["choices"][0]["finish_reason"] == wanted


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("size", [1, 3, 50, 1_000_000])
def test_a_stream_says_what_the_whole_says(answer: str, size: int) -> None:
    stream = sse(*events_of(ANSWERS[answer]))
    following = translator()
    parts = [following.feed(stream[at : at + size]) for at in range(0, len(stream), size)]
    assert following.ended
    assert following.failure is None
    assert all(part.endswith(b"\n\n") for part in parts if part)
    chunks = parsed(b"".join(parts))
    first, *_ = chunks
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    body = translator().whole(orjson.dumps(ANSWERS[answer]))
    assert gathered(chunks) == of_whole(orjson.loads(body or b""))


def test_nothing_is_said_before_there_is_output() -> None:
    following = translator()
    events = events_of(ANSWERS["text"])
    assert following.feed(sse(*events[:3])) == b""  # start, ping, the start of an empty block
    assert following.feed(sse(events[3]))


def test_a_usage_that_is_not_told_is_not_zero() -> None:
    whole = message(text("x"))
    whole["usage"] = {}
    assert orjson.loads(translator().whole(orjson.dumps(whole)) or b"")["usage"] is None
    events = events_of(message(text("x")))
    events[0]["message"]["usage"] = None
    assert b'"usage"' not in translator().feed(sse(*events))


@pytest.mark.parametrize("kind", ERROR_STATUS)
def test_errors(kind: str) -> None:
    status = 503 if kind == "overloaded_error" else ERROR_STATUS[kind]
    wanted = {"message": f"This is {kind}.", "type": kind, "param": None, "code": status}
    told = translator().refusal(ERROR_STATUS[kind], error_body(kind))
    assert (told[0], orjson.loads(told[1] or b"")) == (status, {"error": wanted})
    following = translator()
    [event] = parsed(following.feed(b"event: error\ndata: " + error_body(kind) + b"\n\n"))
    assert event == {"error": wanted}
    assert following.ended
    assert following.failure is not None
    assert following.failure[0] == status


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": "no"}', b'{"error": {}}'])
def test_a_refusal_without_words(body: bytes) -> None:
    assert translator().refusal(529, body) == (503, None)


def test_an_error_without_words_in_a_stream() -> None:
    following = translator()
    [event] = parsed(following.feed(b'data: {"type": "error"}\n\n'))
    assert event["error"]["type"] == "upstream_error"
    assert following.failure is not None
    assert orjson.loads(following.failure[1]) == event


@pytest.mark.parametrize("body", [b"", b"{no", b"[]", b"{}", b'{"type":"message"}'])
def test_a_whole_that_is_none(body: bytes) -> None:
    assert translator().whole(body) is None


START = events_of(message())[0]


@pytest.mark.parametrize(
    "stream",
    [
        b"data: {no\n\n",
        b"data: [1]\n\n",
        sse({"type": "content_block_delta", "index": 0}),
        sse({"type": "message_start", "message": None}),
        sse(START, START),
        sse(START, {"type": "content_block_stop", "index": "0"}),
        b"data: " + b"x" * 1_100_000 + b"\n\n",
        b'data: "' + b"x\ndata: " * 600_000 + b'"\n\n',
    ],
    ids=["no JSON", "no object", "no start", "a wrong start", "two", "no index", "long", "lines"],
)
def test_garbage(stream: bytes) -> None:
    with pytest.raises(GarbageError):
        translator().feed(stream)


def test_what_is_not_known_is_passed_over() -> None:
    events = events_of(message(text("x")))
    more: list[dict[str, Any]] = [
        {"type": "tomorrow", "index": 0},
        {
            "type": "content_block_start",
            "index": 9,
            "content_block": {"type": "server_tool_use", "id": "s", "name": "n", "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 9,
            "delta": {"type": "input_json_delta", "partial_json": "{}"},
        },
        {"type": "content_block_stop", "index": 9},
    ]
    plain = translator().feed(sse(*events))
    assert translator().feed(sse(events[0], *more, *events[1:])) == plain
