"""What is read from answers, whole and in pieces, and from errors in any shape."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event import Operation
from serving.emit.answer import Answer, read_body, read_piece, read_tail
from serving.emit.error_class import error_class

KEYS = [
    *(
        "choices",
        "delta",
        "index",
        "finish_reason",
        "usage",
        "type",
        "response",
        "error",
        "message",
    ),
    *("content", "role", "text", "output", "prompt_tokens", "completion_tokens", "input_tokens"),
    *("status", "code", "incomplete_details", "stop_reason", "prompt_tokens_details"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("NotFoundError", 404), "not_found"),
        (("BadRequestError", 400), "bad_request"),
        (("Bad Request", 400), "bad_request"),
        (("Service Unavailable", 503), "service_unavailable"),
        (("InternalServerError", 500), "internal_server_error"),
        (("internal_error",), "internal_error"),
        (("RuntimeError",), "runtime_error"),
        (("InternalServerError", 500, "EngineCore encountered an issue. See"), "engine_dead"),
        ((None, 503), "503"),
        (("", 418), "418"),
        (("!!!",), "unknown"),
        ((None,), "unknown"),
        (("A" * 500,), "a" * 64),
    ],
)
def test_error_classes(arguments: tuple[Any, ...], name: str) -> None:
    assert error_class(*arguments) == name


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":"Unauthorized"}', "unauthorized"),
        (b'{"error":{"type":"NotFoundError","code":404}}', "not_found"),
        (b'{"type":"error","error":{"type":"overloaded_error"}}', "overloaded_error"),
        (b'{"detail":"Not Found"}', "422"),
        (b"<html>", "422"),
        (b"", "422"),
        (b"[]", "422"),
        (b'{"error":null}', "422"),
    ],
)
def test_error_bodies(body: bytes, error: str) -> None:
    answer = Answer()
    read_body(Operation.CHAT, 422, body, answer)
    assert answer.error_type == error


def test_an_error_in_a_good_answer() -> None:
    answer = Answer()
    read_body(Operation.CHAT, 200, b'{"error":{"type":"InternalServerError"}}', answer)
    assert answer.error_type == "internal_server_error"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7}, (5, None, 7)),
        (
            {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
            (5, 4, None),
        ),
        (
            {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 0},
            (5, 0, 0),
        ),
        # Anthropic: cached tokens are not part of input_tokens
        (
            {"input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 1},
            (5, 3, 1),
        ),
        (
            {"input_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4},
            (9, 3, None),
        ),
        ({"prompt_tokens": -1, "completion_tokens": "7"}, (None, None, None)),
        ({"prompt_tokens": True}, (None, None, None)),
        ([], (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_usage(usage: Any, tokens: tuple[int | None, ...]) -> None:
    answer = Answer()
    read_body(Operation.CHAT, 200, orjson.dumps({"usage": usage}), answer)
    assert (answer.input_tokens, answer.cached_input_tokens, answer.output_tokens) == tokens


def test_the_tail_of_a_long_answer() -> None:
    answer = Answer()
    tail = b'0.5,0.25]}],"usage":{"prompt_tokens":9,"total_tokens":9,"completion_tokens":0,'
    read_tail(tail + b'"prompt_tokens_details":{"cached_tokens":3}}}', answer)
    assert (answer.input_tokens, answer.cached_input_tokens, answer.output_tokens) == (9, 3, 0)
    read_tail(b'"usage":{"prompt_tokens":}', answer)
    read_tail(b"nothing", answer)
    assert answer.input_tokens == 9


def piece(answer: Answer, operation: Operation = Operation.CHAT, **data: Any) -> int | None:
    return read_piece(operation, orjson.dumps(data), answer)


def test_what_counts_as_output_in_chat() -> None:
    answer = Answer(text_room=100)
    assert (
        piece(answer, choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]) is None
    )
    assert piece(answer, choices=[{"index": 0, "delta": {"content": ""}}]) == 0
    assert piece(answer, choices=[{"index": 1, "delta": {"content": "a"}}]) == 1
    assert piece(answer, choices=[{"index": 0, "delta": {"reasoning": "r"}}]) == 0
    assert piece(answer, choices=[{"index": 0, "delta": {"tool_calls": [{}]}}]) == 0
    assert (
        piece(answer, choices=[{"index": 0, "delta": {"role": "assistant", "content": "b"}}]) == 0
    )
    assert piece(answer, choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]) is None
    assert piece(answer, choices=[], usage={"completion_tokens": 9}) is None
    assert read_piece(Operation.CHAT, b"[DONE]", answer) is None
    assert answer.pieces == 5
    assert answer.finish_reasons == {0: "stop"}
    assert answer.output_tokens == 9
    assert "".join(answer.text) == "ab"


@pytest.mark.parametrize(
    "data",
    [
        {"type": "error", "code": "server_error", "message": "x"},
        {"type": "response.failed", "response": {"error": {"code": 1, "type": "server_error"}}},
    ],
)
def test_errors_of_responses(data: dict[str, Any]) -> None:
    answer = Answer()
    assert piece(answer, Operation.RESPONSES, **data) is None
    assert answer.error_type == "server_error"


def test_a_failed_response_without_an_error() -> None:
    answer = Answer()
    piece(answer, Operation.RESPONSES, type="response.failed", response={"status": "failed"})
    assert answer.error_type == "response_failed"


def test_text_is_kept_only_as_far_as_there_is_room() -> None:
    answer = Answer(text_room=5)
    for word in ("abc", "def", "ghi"):
        answer.keep(word)
    assert "".join(answer.text) == "abcde"
    assert answer.truncated
    off = Answer()
    off.keep("abc")
    assert off.text == []


@given(st.sampled_from(Operation), json_values, st.sampled_from([200, 400, 500]))
def test_any_json_is_survived(operation: Operation, value: Any, status: int) -> None:
    body = orjson.dumps(value)
    read_body(operation, status, body, Answer(text_room=10))
    read_piece(operation, body, Answer(text_room=10))
    read_piece(
        operation,
        orjson.dumps({"choices": [value], "type": "response.x", "response": value}),
        Answer(),
    )
