"""OpenAI's official client before a gateway that has Anthropic's API behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from schemas.event import Operation, Route
from schemas.flag import FlagKey
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
from tests.support.gateway import CHAT, RunningGateway, add_flag, file_of, running_gateway
from tests.support.upstream import (
    DONE,
    Upstream,
    body,
    error,
    ok,
    piece,
    running_upstream,
    stream,
)
from tests.support.waiting import until

STREAM = {**CHAT, "stream": True}
RAIN = message(text("It rains."), cache_read_input_tokens=100)
CALL = message(text("I look."), tool_use("weather", {"city": "Bern"}), stop="tool_use")
PING = sse({"type": "ping"})


def file_for(anthropic: Upstream, *others: Upstream, **more: Any) -> dict[str, Any]:
    """Return a file in which the first upstream speaks Anthropic's API."""
    file = file_of(anthropic, *others, **more)
    file["upstreams"]["u0"] |= {"api": "anthropic", "api_key_env": "ANTHROPIC_KEY"}
    return file


KEY = {"ANTHROPIC_KEY": "sk-ant-1"}


def whole(answer: dict[str, Any]) -> Any:
    return ok(orjson.dumps(answer))


def streamed(answer: dict[str, Any]) -> Any:
    return stream(*[sse(event) for event in events_of(answer)])


def official(gateway: RunningGateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=gateway.url, api_key="none", max_retries=0)


async def test_an_answer_in_one_piece(tmp_path: Path) -> None:
    async with (
        running_upstream(whole(RAIN)) as up,
        running_gateway(tmp_path, file_for(up), environ=KEY) as gateway,
        official(gateway) as client,
    ):
        answer = await client.chat.completions.create(**CHAT, extra_headers={"OpenAI-Beta": "x"})
        event = await gateway.event()
    assert answer.choices[0].message.content == "It rains."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 125
    [call] = up.calls
    assert call.path == "/v1/messages"
    assert call.headers["x-api-key"] == "sk-ant-1"
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in call.headers
    turn = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
    assert call.json == {"model": "m", "max_tokens": 4096, "messages": [turn]}
    assert (event.operation, event.model, event.provider) == (Operation.CHAT, "assistant", "p0")
    assert (event.input_tokens, event.cached_input_tokens, event.output_tokens) == (125, 100, 15)
    assert (event.finish_reasons, event.error_type) == (("stop",), None)


async def test_a_stream(tmp_path: Path) -> None:
    async with (
        running_upstream(streamed(RAIN)) as up,
        running_gateway(tmp_path, file_for(up), environ=KEY) as gateway,
        official(gateway) as client,
    ):
        chunks = [chunk async for chunk in await client.chat.completions.create(**STREAM)]
        event = await gateway.event()
        asked = {**STREAM, "stream_options": {"include_usage": True}}
        told = [chunk async for chunk in await client.chat.completions.create(**asked)]
        await gateway.event(2)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "It rains."
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    assert told[-1].choices == []
    assert told[-1].usage is not None
    assert told[-1].usage.total_tokens == 140
    assert up.calls[0].json["stream"] is True
    assert (event.stream, event.tokens_estimated) == (True, False)
    assert (event.input_tokens, event.cached_input_tokens, event.output_tokens) == (125, 100, 15)
    assert event.ttft_s is not None


@pytest.mark.parametrize("streaming", [False, True])
async def test_tools(tmp_path: Path, streaming: bool) -> None:
    async with (
        running_upstream(streamed(CALL) if streaming else whole(CALL)) as up,
        running_gateway(tmp_path, file_for(up), environ=KEY) as gateway,
        official(gateway) as client,
    ):
        asked: Any = {**CHAT, "tools": TOOLS, "tool_choice": "required"}
        if streaming:
            async with client.chat.completions.stream(**asked) as running:
                answer: Any = await running.get_final_completion()
        else:
            answer = await client.chat.completions.create(**asked)
        said = answer.choices[0].message
        reason = answer.choices[0].finish_reason
        result = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "rain"}
        back = said.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True)
        up.act = whole(RAIN)
        await client.chat.completions.create(
            model="assistant", messages=[*CHAT["messages"], back, result], tools=asked["tools"]
        )
    assert (said.content, reason) == ("I look.", "tool_calls")
    [call] = said.tool_calls
    assert call.function.name == "weather"
    assert orjson.loads(call.function.arguments) == {"city": "Bern"}
    first, second = (call.json for call in up.calls)
    assert first["tool_choice"] == {"type": "any"}
    turns: Any = second["messages"]
    assert turns[1]["content"] == [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {"city": "Bern"}},
    ]
    assert turns[2]["content"][0]["tool_use_id"] == "toolu_01"


AT_FAULT = ("invalid_request_error", "request_too_large")


@pytest.mark.parametrize("kind", ERROR_STATUS)
@pytest.mark.parametrize("told", ["by status", "in the stream"])
async def test_errors_before_any_output(tmp_path: Path, kind: str, told: str) -> None:
    """What is the request's own fault goes to the client; for the rest there is another one."""
    data = error_body(kind)
    act = ok(data, status=ERROR_STATUS[kind])
    if told == "in the stream":
        start = events_of(RAIN)[0]
        act = stream(sse(start), PING, b"event: error\ndata: " + data + b"\n\n")
    async with (
        running_upstream(act) as up,
        running_upstream(stream(piece("saved"), DONE)) as other,
        running_gateway(tmp_path, file_for(up, other), environ=KEY) as gateway,
    ):
        answer = await gateway.ask(STREAM)
        event = await gateway.event()
    if kind in AT_FAULT:
        assert answer.status_code == ERROR_STATUS[kind] == event.status_code
        assert answer.json()["error"]["type"] == kind
        assert other.calls == []
    else:
        assert b"saved" in answer.content
        assert (event.route, event.error_type) == (Route.FALLBACK, None)


@pytest.mark.parametrize(
    ("kind", "status", "type_"),
    [
        ("overloaded_error", 503, "overloaded_error"),
        ("api_error", 500, "api_error"),
        ("rate_limit_error", 429, "rate_limit_error"),
        ("authentication_error", 502, "upstream_refused_key"),
        ("billing_error", 502, "upstream_refused_key"),
    ],
)
async def test_when_nobody_else_can(tmp_path: Path, kind: str, status: int, type_: str) -> None:
    act = ok(error_body(kind), status=ERROR_STATUS[kind], retry_after="7")
    async with (
        running_upstream(act) as up,
        running_gateway(tmp_path, file_for(up), environ=KEY) as gateway,
        official(gateway) as client,
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(**CHAT)
        event = await gateway.event()
    assert (caught.value.status_code, caught.value.type) == (status, type_)
    assert caught.value.response.headers.get("retry-after") == (None if status == 502 else "7")
    assert event.status_code == status


@pytest.mark.parametrize(
    ("rest", "end", "kind"),
    [
        ([b"event: error\ndata: " + error_body("overloaded_error") + b"\n\n"], True, None),
        ([], True, "upstream_died"),
        ([], False, "upstream_died"),
        ([b"data: {nonsense\n\n"], True, "upstream_garbage"),
        ([b"data: " + b"x" * 60_000] * 20, True, "upstream_garbage"),
        ([60.0], True, "upstream_stalled"),
    ],
    ids=["an error", "no last event", "cut", "garbage", "an endless event", "silence"],
)
async def test_a_stream_that_breaks_says_so(
    tmp_path: Path, rest: list[bytes | float], end: bool, kind: str | None
) -> None:
    kind = kind or "overloaded_error"
    begun = [sse(event) for event in events_of(RAIN)[:4]]
    quick = {"first_token_timeout_s": 1.0, "idle_timeout_s": 1.0}
    breaker = {"consecutive_failures": 1, "ejection_s": 60}
    async with (
        running_upstream(stream(*begun, *rest, end=end)) as up,
        running_upstream(stream(piece("saved"), DONE)) as other,
        running_gateway(
            tmp_path, file_for(up, other, breaker=breaker), environ=KEY, **quick
        ) as gateway,
        official(gateway) as client,
    ):
        got: list[str | None] = []

        async def read() -> None:
            async for chunk in await client.chat.completions.create(**STREAM):
                got.append(chunk.choices[0].delta.content)  # noqa: PERF401

        with pytest.raises(openai.APIError) as caught:
            await read()
        event = await gateway.event()
        assert b"saved" in (await gateway.ask(STREAM)).content  # it is ejected
    assert got == ["", "It rain"]
    assert caught.value.type == kind
    assert (event.status_code, event.error_type, event.aborted) == (200, kind, False)
    assert len(up.calls) == 1


async def test_pings_are_no_first_token(tmp_path: Path) -> None:
    act = stream(sse(events_of(RAIN)[0]), *[PING, 0.05] * 1_000)
    async with (
        running_upstream(act) as up,
        running_upstream(stream(piece("saved"), DONE)) as other,
        running_gateway(
            tmp_path, file_for(up, other), environ=KEY, first_token_timeout_s=0.5
        ) as gateway,
    ):
        assert b"saved" in (await gateway.ask(STREAM)).content


async def test_a_connection_that_stays_open_after_the_last_event(tmp_path: Path) -> None:
    act = stream(*[sse(event) for event in events_of(RAIN)], 60.0)
    async with (
        running_upstream(act) as up,
        running_gateway(tmp_path, file_for(up), environ=KEY) as gateway,
    ):
        answer = await gateway.ask(STREAM)
        event = await gateway.event()

        async def left() -> bool:
            return up.gone == 1

        await until(left)
    assert answer.content.endswith(DONE)
    assert event.error_type is None


@pytest.mark.parametrize("act", [ok(b"{nonsense"), ok(b'{"type":"x"}'), ok(body())])
async def test_what_is_no_message_is_no_answer(tmp_path: Path, act: Any) -> None:
    async with (
        running_upstream(act) as up,
        running_gateway(tmp_path, file_for(up), environ=KEY) as gateway,
    ):
        answer = await gateway.ask()
        event = await gateway.event()
    assert (answer.status_code, event.error_type) == (502, "upstream_garbage")


async def test_what_cannot_be_translated_is_named(tmp_path: Path) -> None:
    async with (
        running_upstream(whole(RAIN)) as up,
        running_gateway(tmp_path, file_for(up), environ=KEY) as gateway,
        official(gateway) as client,
    ):
        with pytest.raises(openai.BadRequestError, match="seed: has no counterpart") as caught:
            await client.chat.completions.create(**CHAT, seed=7)
        event = await gateway.event()
        with pytest.raises(openai.BadRequestError, match="has no /v1/embeddings"):
            await client.embeddings.create(model="assistant", input="x")
    assert caught.value.param == "seed"
    assert (event.status_code, event.error_type) == (400, "invalid_request_error")
    assert up.calls == []


async def test_another_upstream_answers_what_cannot_be_translated(tmp_path: Path) -> None:
    async with (
        running_upstream(whole(RAIN)) as up,
        running_upstream() as other,
        running_gateway(tmp_path, file_for(up, other), environ=KEY) as gateway,
    ):
        assert (await gateway.ask({**CHAT, "seed": 7})).is_success
        assert up.calls == []
        assert (await gateway.ask()).is_success
        await gateway.set(FlagKey.FALLBACK_ENABLED, False)
        refused = await gateway.ask({**CHAT, "seed": 7})
    assert refused.json()["error"]["param"] == "seed"
    assert len(up.calls) == len(other.calls) == 1


async def test_it_stands_in_for_an_upstream_that_speaks_openai_s_api(tmp_path: Path) -> None:
    async with (
        running_upstream(streamed(RAIN)) as up,
        running_upstream(error(500)) as broken,
    ):
        file = file_for(up, broken)
        file["models"]["assistant"]["targets"].reverse()
        async with running_gateway(tmp_path, file, environ=KEY, providers=("p1", "p0")) as gateway:
            answer = await gateway.ask({**STREAM, "stream_options": {"include_usage": True}})
            event = await gateway.event()
    assert b"It rain" in answer.content
    assert (event.route, event.provider, event.input_tokens) == (Route.FALLBACK, "p0", 125)


@pytest.mark.parametrize("streaming", [False, True])
async def test_messages_pass_as_they_are(tmp_path: Path, streaming: bool) -> None:
    act = streamed(RAIN) if streaming else whole(RAIN)
    asked = {"model": "assistant", "max_tokens": 9, "messages": CHAT["messages"]}
    async with (
        running_upstream(act) as up,
        running_gateway(tmp_path, file_for(up), environ=KEY) as gateway,
    ):
        answer = await gateway.ask(
            {**asked, "stream": streaming},
            "/messages",
            Anthropic_Version="2099-01-01",
            X_Api_Key="the client's",
        )
        event = await gateway.event()
    sent = sse(*events_of(RAIN)) if streaming else orjson.dumps(RAIN)
    assert answer.content == sent
    [call] = up.calls
    assert call.json == {**asked, "model": "m", "stream": streaming}
    assert call.headers["anthropic-version"] == "2099-01-01"
    assert call.headers["x-api-key"] == "sk-ant-1"
    assert (event.operation, event.input_tokens) == (Operation.MESSAGES, 125)


async def test_shadow_copies_are_translated_too(tmp_path: Path) -> None:
    async with running_upstream(streamed(RAIN)) as trial, running_upstream() as up:
        file = file_for(trial, up)
        targets = file["models"]["assistant"]["targets"]
        targets[0]["versions"] = {"v2": "trial"}
        async with running_gateway(tmp_path, file, environ=KEY) as gateway:
            add_flag(gateway.store, FlagKey.CANARY_VERSION, {"v2": "v2"})
            await gateway.obeys(FlagKey.CANARY_VERSION)
            await gateway.set(FlagKey.SHADOW_PERCENT, "100")
            assert (await gateway.ask({**CHAT, "seed": 7})).is_success  # no copy of this one
            assert (await gateway.ask()).is_success

            async def copied() -> bool:
                return len(trial.calls) == 1

            await until(copied)
    assert (trial.calls[0].path, trial.calls[0].json["model"]) == ("/v1/messages", "trial")
