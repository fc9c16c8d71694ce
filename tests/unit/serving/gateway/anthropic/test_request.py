"""OpenAI's chat requests in Anthropic's words, and those that have none."""

from __future__ import annotations

from typing import Any

import pytest

from serving.gateway.anthropic.request import to_request
from serving.gateway.anthropic.untranslatable import UntranslatableError
from tests.support.anthropic import TOOLS

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
TURN = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]


def asked(**more: Any) -> dict[str, Any]:
    return to_request({"model": "m", "messages": HELLO, **more}, max_tokens=99)


def of(*messages: dict[str, Any]) -> dict[str, Any]:
    return to_request({"messages": list(messages)}, max_tokens=99)


def test_the_least_that_can_be_asked() -> None:
    assert asked() == {"max_tokens": 99, "messages": TURN}


def test_what_has_a_counterpart() -> None:
    found = asked(
        max_tokens=5,
        max_completion_tokens=7,
        temperature=0.5,
        top_p=1,
        top_k=40,
        stop="END",
        stream=True,
        stream_options={"include_usage": True},
        user="u-1",
        service_tier="default",
        metadata={"feature": "search"},
        prompt_cache_key="k",
    )
    assert found == {
        "messages": TURN,
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 1,
        "top_k": 40,
        "stop_sequences": ["END"],
        "stream": True,
        "metadata": {"user_id": "u-1"},
        "service_tier": "standard_only",
    }
    assert asked(stop=["a", "b"])["stop_sequences"] == ["a", "b"]
    schema = {"type": "object", "properties": {}}
    shaped = asked(response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    assert shaped["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


def test_what_changes_nothing_may_be_said() -> None:
    neutral = {
        "n": 1,
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logprobs": False,
        "logit_bias": {},
        "seed": None,
        "response_format": {"type": "text"},
        "reasoning_effort": "none",
        "stop": [],
        "tools": [],
        "tool_choice": "auto",
    }
    assert asked(**neutral) == asked()


def test_system_messages_go_to_the_front() -> None:
    found = of(
        {"role": "system", "content": "be brief"},
        *HELLO,
        {"role": "developer", "content": [{"type": "text", "text": "and kind"}]},
    )
    assert found["system"] == [
        {"type": "text", "text": "be brief"},
        {"type": "text", "text": "and kind"},
    ]
    assert found["messages"] == TURN


def test_a_conversation_with_tools() -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
    found = of(
        {"role": "user", "content": "Bern and Rome?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "c-1", **call}, {"id": "functions.weather:1", **call}],
        },
        {"role": "tool", "tool_call_id": "c-1", "content": "rain"},
        {"role": "tool", "tool_call_id": "functions.weather:1", "content": ""},
        {"role": "user", "content": "and now?"},
    )
    user, assistant, answer = found["messages"]
    other = assistant["content"][2]["id"]
    assert user == {"role": "user", "content": [{"type": "text", "text": "Bern and Rome?"}]}
    assert assistant["role"] == "assistant"
    assert assistant["content"] == [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "c-1", "name": "weather", "input": {"city": "Bern"}},
        {"type": "tool_use", "id": other, "name": "weather", "input": {"city": "Bern"}},
    ]
    assert answer == {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "c-1",
                "content": [{"type": "text", "text": "rain"}],
            },
            {"type": "tool_result", "tool_use_id": other},
            {"type": "text", "text": "and now?"},
        ],
    }
    assert other.replace("_", "").isalnum()


@pytest.mark.parametrize(
    ("choice", "parallel", "wanted"),
    [
        (None, None, None),
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", True, {"type": "any"}),
        (
            {"type": "function", "function": {"name": "weather"}},
            False,
            {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        ),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)
def test_the_choice_of_a_tool(choice: object, parallel: object, wanted: object) -> None:
    found = asked(tools=TOOLS, tool_choice=choice, parallel_tool_calls=parallel)
    function = TOOLS[0]["function"]
    assert found["tools"] == [
        {
            "name": "weather",
            "description": function["description"],
            "input_schema": function["parameters"],
        }
    ]
    assert found.get("tool_choice") == wanted


def test_a_tool_without_parameters() -> None:
    bare = {"type": "function", "function": {"name": "now", "strict": True}}
    [tool] = asked(tools=[bare])["tools"]
    schema = {"type": "object", "properties": {}}
    assert tool == {"name": "now", "input_schema": schema, "strict": True}


def test_images_and_files() -> None:
    found = of(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is this?", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
                {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,QUJD"}},
                {
                    "type": "file",
                    "file": {"file_data": "data:application/pdf;base64,QUJD", "filename": "a.pdf"},
                },
            ],
        }
    )
    [turn] = found["messages"]
    assert turn["content"] == [
        {"type": "text", "text": "what is this?", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/jpeg", "data": "QUJD"},
        },
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"},
            "title": "a.pdf",
        },
    ]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 7}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": True}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"stop": [1]}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"guided_json": {}}, "guided_json"),
        ({"what a user wrote": 1}, "a parameter"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"user": 5}, "user"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "user", "content": "x", "name": "a"}]}, "messages[1].name"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ],
)
def test_what_has_no_counterpart_is_named(more: dict[str, Any], param: str) -> None:
    with pytest.raises(UntranslatableError) as caught:
        asked(**more)
    assert caught.value.param == param
    assert "wrote" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"type": "input_audio", "input_audio": {}}, ""),
        ({"type": "text"}, ""),
        ({"type": "image_url"}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": "ftp://x"}}, ".image_url.url"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/bmp;base64,QUJD"}},
            ".image_url.url",
        ),
        ({"type": "image_url", "image_url": {"url": "data:image/png,QUJD"}}, ".image_url.url"),
        ({"type": "file", "file": {"file_id": "f-1"}}, ".file.file_data"),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;base64,QUJD"}},
            ".file.file_data",
        ),
    ],
)
def test_parts_that_have_no_counterpart(part: dict[str, Any], place: str) -> None:
    with pytest.raises(UntranslatableError) as caught:
        of({"role": "user", "content": [{"type": "text", "text": "x"}, part]})
    assert caught.value.param == f"messages[0].content[1]{place}"


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (7, ""),
        ({"id": "c", "type": "custom"}, ".type"),
        ({"id": "c", "function": {"arguments": "{}"}}, ".function.name"),
        ({"id": "c", "function": {"name": "f", "arguments": "{no"}}, ".function.arguments"),
        ({"id": "c", "function": {"name": "f", "arguments": "[]"}}, ".function.arguments"),
        ({"function": {"name": "f", "arguments": ""}}, ".id"),
    ],
)
def test_calls_that_have_no_counterpart(call: object, place: str) -> None:
    with pytest.raises(UntranslatableError) as caught:
        of(*HELLO, {"role": "assistant", "tool_calls": [call]})
    assert caught.value.param == f"messages[1].tool_calls[0]{place}"
