"""What is read from a request: never more than its types allow."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event import Operation, Route
from serving.emit.operations import operation_of
from serving.emit.request import Asked, Sender, clean_name, parse_body, parse_headers
from tests.unit.serving.emit.test_answer import json_values


def parse(operation: Operation = Operation.CHAT, **data: Any) -> Asked:
    return parse_body(operation, orjson.dumps(data), want_prompt=True)


def test_headers() -> None:
    sender = parse_headers(
        [
            (b"X-Request-Id", b"r-1"),
            (b"x-tocsin-feature", b" search "),
            (b"X-TOCSIN-USER", b"u-1"),
            (b"x-tocsin-plan", b"pro"),
            (b"x-tocsin-route", b"Canary"),
            (b"authorization", b"Bearer no"),
            (b"x-tocsin-user", b"a second one does not count"),
        ]
    )
    assert sender == Sender("r-1", "search", "u-1", "pro", Route.CANARY)
    assert parse_headers([(b"x-tocsin-route", b"nonsense")]) == Sender()
    assert parse_headers([(b"x-request-id", b"  ")]).request_id is None


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("a", "a"),
        ("  a b ", "a b"),
        ("a\x00b\n", "ab"),
        ("", None),
        ("\t", None),
        (None, None),
        (7, None),
        ("x" * 300, "x" * 256),
    ],
)
def test_names(value: object, name: str | None) -> None:
    assert clean_name(value) == name


def test_who_asks_may_stand_in_the_body() -> None:
    asked = parse(user="u", metadata={"feature": "f", "plan": "p", "user_id": "m"})
    assert (asked.user_id, asked.feature, asked.plan) == ("u", "f", "p")
    assert parse(safety_identifier="s").user_id == "s"
    assert parse(Operation.MESSAGES, metadata={"user_id": "m"}).user_id == "m"


@pytest.mark.parametrize(
    ("operation", "data", "choices"),
    [
        (Operation.CHAT, {}, 1),
        (Operation.CHAT, {"n": 3}, 3),
        (Operation.CHAT, {"n": 0}, 1),
        (Operation.CHAT, {"n": "3"}, 1),
        (Operation.CHAT, {"n": 10**9}, 1),
        (Operation.TEXT_COMPLETION, {"prompt": ["a", "b"], "n": 2}, 4),
        (Operation.TEXT_COMPLETION, {"prompt": [1, 2, 3]}, 1),
        (Operation.TEXT_COMPLETION, {"prompt": [[1], [2]]}, 2),
        (Operation.TEXT_COMPLETION, {"prompt": []}, 1),
        (Operation.EMBEDDINGS, {"input": ["a", "b", "c"]}, 3),
    ],
)
def test_how_many_sequences_there_will_be(
    operation: Operation, data: dict[str, Any], choices: int
) -> None:
    assert parse(operation, **data).choices == choices


@pytest.mark.parametrize(
    ("operation", "data", "prompt"),
    [
        (Operation.CHAT, {"messages": [{"role": "user", "content": "a"}]}, "user: a"),
        (
            Operation.CHAT,
            {
                "messages": [
                    {"role": "system", "content": "s"},
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "a"},
                            {"type": "image_url", "image_url": {"url": "data:..."}},
                        ],
                    },
                ]
            },
            "system: s\nuser: a",
        ),
        (Operation.TEXT_COMPLETION, {"prompt": ["a", "b"]}, "a\nb"),
        (Operation.TEXT_COMPLETION, {"prompt": [1, 2]}, ""),
        (Operation.RESPONSES, {"instructions": "s", "input": "a"}, "system: s\na"),
        (
            Operation.RESPONSES,
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]},
            "user: a",
        ),
        (
            Operation.MESSAGES,
            {"system": "s", "messages": [{"role": "user", "content": "a"}]},
            "system: s\nuser: a",
        ),
        (Operation.EMBEDDINGS, {"input": ["a", "b"]}, "a\nb"),
    ],
)
def test_prompts(operation: Operation, data: dict[str, Any], prompt: str) -> None:
    assert parse(operation, **data).prompt == prompt
    assert parse_body(operation, orjson.dumps(data), want_prompt=False).prompt is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"model": 7}'])
def test_bad_bodies_are_unknown(body: bytes) -> None:
    assert parse_body(Operation.CHAT, body, want_prompt=False) == Asked()


@given(st.sampled_from(Operation), json_values)
def test_any_json_is_survived(operation: Operation, value: Any) -> None:
    data = {"messages": value, "input": value, "prompt": value, "metadata": value, "n": value}
    parse(operation, **data, user=value, model=value, system=value, stream=value)


@pytest.mark.parametrize(
    ("scope", "operation"),
    [
        ({"type": "http", "method": "POST", "path": "/v1/responses"}, Operation.RESPONSES),
        ({"type": "http", "method": "POST", "path": "/score"}, Operation.OTHER),
        (
            {"type": "http", "method": "POST", "path": "/api/v1/messages", "root_path": "/api"},
            Operation.MESSAGES,
        ),
        ({"type": "http", "method": "GET", "path": "/v1/chat/completions"}, None),
        ({"type": "http", "method": "POST", "path": "/tokenize"}, None),
        ({"type": "http", "method": "POST", "path": "/v1/load_lora_adapter"}, None),
        ({"type": "websocket", "path": "/v1/responses"}, None),
        ({"type": "lifespan"}, None),
    ],
)
def test_which_requests_are_reported(scope: dict[str, Any], operation: Operation | None) -> None:
    assert operation_of(scope) == operation
