"""The gateway over real sockets: what passes, who is asked, and one right event each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
from prometheus_client import REGISTRY

from schemas.event import Operation, Route
from schemas.flag import FlagKey
from serving.gateway.keys import hash_key
from tests.support.gateway import CHAT, add_flag, file_of, running_gateway
from tests.support.upstream import DONE, body, error, ok, piece, running_upstream, stall, stream
from tests.support.waiting import until

STREAM = {**CHAT, "stream": True}
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\n'


async def test_an_answer_in_one_piece(tmp_path: Path) -> None:
    async with running_upstream() as up, running_gateway(tmp_path, file_of(up)) as gateway:
        answer = await gateway.ask(
            X_Request_Id="r-1", X_Tocsin_User="alice", X_Tocsin_Plan="pro", Cookie="secret=1"
        )
        event = await gateway.event()
    assert answer.content == body()
    assert answer.headers["x-request-id"] == "r-1"
    assert up.calls[0].path == "/v1/chat/completions"
    assert up.calls[0].json == {**CHAT, "model": "m"}
    assert up.calls[0].headers["x-request-id"] == "r-1"
    assert not {"cookie", "x-tocsin-user", "authorization"} & set(up.calls[0].headers)
    assert (event.request_id, event.user_id, event.plan) == ("r-1", "alice", "pro")
    assert (event.model, event.model_version, event.provider) == ("assistant", "v1", "p0")
    assert (event.server, event.route) == (f"127.0.0.1:{up.port}", Route.STABLE)
    assert (event.input_tokens, event.output_tokens, event.error_type) == (7, 3, None)


async def test_a_stream_passes_and_its_usage_is_learnt(tmp_path: Path) -> None:
    async with running_upstream() as up, running_gateway(tmp_path, file_of(up)) as gateway:
        up.act = stream(piece("a"), piece("b") + USAGE, DONE)
        answer = await gateway.ask(STREAM)
        event = await gateway.event()
        assert up.calls[0].json["stream_options"] == {"include_usage": True}
        wanting = await gateway.ask({**STREAM, "stream_options": {"include_usage": True}})
        second = await gateway.event(2)
    assert answer.content == piece("a") + piece("b") + DONE
    assert answer.headers["content-type"] == "text/event-stream"
    assert (event.input_tokens, event.output_tokens, event.tokens_estimated) == (9, 4, False)
    assert event.ttft_s is not None
    assert wanting.content == piece("a") + piece("b") + USAGE + DONE
    assert second.input_tokens == 9


async def test_chunks_come_as_they_are_made(tmp_path: Path) -> None:
    """The upstream waits in the middle for the client to have the first piece."""
    async with running_upstream() as up, running_gateway(tmp_path, file_of(up)) as gateway:
        seen = asyncio.Event()

        async def act(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
            writer.write(b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(DONE), DONE))
            await writer.drain()
            await asyncio.wait_for(seen.wait(), 10)
            writer.write(b"0\r\n\r\n")

        up.act = act
        url = gateway.url + "/chat/completions"
        async with gateway.client.stream("POST", url, json=STREAM) as answer:
            async for _ in answer.aiter_raw():
                seen.set()
        await gateway.event()
    assert seen.is_set()


@pytest.mark.parametrize(
    ("path", "asked", "operation"),
    [
        ("/completions", {"prompt": "hi"}, Operation.TEXT_COMPLETION),
        ("/embeddings", {"input": ["a", "b"]}, Operation.EMBEDDINGS),
        ("/responses", {"input": "hi"}, Operation.RESPONSES),
        ("/messages", {"messages": [], "max_tokens": 1}, Operation.MESSAGES),
    ],
)
async def test_other_apis(
    tmp_path: Path, path: str, asked: dict[str, Any], operation: Operation
) -> None:
    async with running_upstream() as up, running_gateway(tmp_path, file_of(up)) as gateway:
        answer = await gateway.ask({"model": "assistant", **asked}, path)
        event = await gateway.event()
    assert answer.status_code == 200
    assert up.calls[0].path == f"/v1{path}"
    assert event.operation is operation


async def test_the_official_client(tmp_path: Path) -> None:
    file = file_of("http://127.0.0.1:1/v1")
    async with running_upstream() as up, running_gateway(tmp_path, file_of(up)) as gateway:
        client = openai.AsyncOpenAI(base_url=gateway.url, api_key="none", max_retries=0)
        answer = await client.chat.completions.create(**CHAT)
        assert answer.choices[0].message.content == "hello"
        assert [model.id async for model in client.models.list()] == ["assistant"]
        assert (await client.models.retrieve("assistant")).id == "assistant"
        up.act = stream(piece("a"), piece("b"), DONE)
        pieces = [p async for p in await client.chat.completions.create(**CHAT, stream=True)]
        assert [p.choices[0].delta.content for p in pieces] == ["a", "b"]
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model="gpt-9", messages=CHAT["messages"])
        assert unknown.value.code == "model_not_found"
        up.act = error(400, "BadRequestError")
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(**CHAT)
        up.act = stream(piece("a"), end=False)
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in await client.chat.completions.create(**CHAT, stream=True):
                pass
        await client.close()
    assert file["version"] == 1


async def test_version_provider_and_canary_follow_the_flags(tmp_path: Path) -> None:
    async with running_upstream() as first, running_upstream() as second:
        file = file_of(first, second)
        for target in file["models"]["assistant"]["targets"]:
            target["versions"] = {"v1": "m", "v2": "m-2"}
        async with running_gateway(tmp_path, file) as gateway:
            await gateway.ask()
            await gateway.set(FlagKey.MODEL_VERSION, "v2")
            await gateway.ask()
            await gateway.set(FlagKey.MODEL_PROVIDER, "p1")
            await gateway.ask()
            await gateway.set(FlagKey.MODEL_VERSION, "v1")
            add_flag(gateway.store, FlagKey.CANARY_VERSION, {"v2": "v2"})
            await gateway.obeys(FlagKey.CANARY_VERSION)
            await gateway.set(FlagKey.CANARY_PERCENT, "100")
            await gateway.ask(X_Tocsin_User="alice")
            await gateway.event(4)
            seen = [(e.provider, e.model_version, e.route) for e in gateway.events]
    assert seen == [
        ("p0", "v1", Route.STABLE),
        ("p0", "v2", Route.STABLE),
        ("p1", "v2", Route.STABLE),
        ("p1", "v2", Route.CANARY),
    ]
    assert second.calls[-1].json["model"] == "m-2"


async def test_a_feature_that_is_off_and_strict_guardrails(tmp_path: Path) -> None:
    async with running_upstream() as up, running_gateway(tmp_path, file_of(up)) as gateway:
        await gateway.ask()
        assert "x-guardrails" not in up.calls[-1].headers
        await gateway.set(FlagKey.GUARDRAILS_STRICT, "on")
        await gateway.ask()
        assert up.calls[-1].headers["x-guardrails"] == "strict"
        await gateway.set(FlagKey.FEATURE_ENABLED, "off")
        answer = await gateway.ask()
        event = await gateway.event(3)
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "feature_disabled"
    assert (event.error_type, event.provider) == ("feature_disabled", "gateway")
    assert len(up.calls) == 2


async def test_a_torn_flag_file_keeps_the_last_good_flags(tmp_path: Path) -> None:
    async with running_upstream() as up, running_gateway(tmp_path, file_of(up)) as gateway:
        await gateway.set(FlagKey.MODEL_PROVIDER, "p1")
        good = gateway.store.path.read_bytes()
        gateway.store.path.write_bytes(good[:-30])

        async def noticed() -> bool:
            return REGISTRY.get_sample_value("tocsin_gateway_flags_valid") == 0

        await until(noticed)
        assert (await gateway.ask()).status_code == 200
        gateway.store.path.write_bytes(good)

        async def again() -> bool:
            return REGISTRY.get_sample_value("tocsin_gateway_flags_valid") == 1

        await until(again)


async def test_rate_limits_by_user_and_by_flag(tmp_path: Path) -> None:
    limits = {
        "normal": [{"by": "user", "requests_per_minute": 1_000}],
        "tight": [{"by": "user", "plan": "free", "requests_per_minute": 1}],
    }
    async with (
        running_upstream() as up,
        running_gateway(tmp_path, file_of(up, limits=limits)) as gateway,
    ):
        alice = {"X_Tocsin_User": "alice", "X_Tocsin_Plan": "free"}
        for _ in range(3):
            assert (await gateway.ask(**alice)).status_code == 200
        await gateway.set(FlagKey.RATE_LIMIT_PROFILE, "tight")
        assert (await gateway.ask(**alice)).status_code == 200
        refused = await gateway.ask(**alice)
        assert (await gateway.ask(X_Tocsin_User="bob", X_Tocsin_Plan="pro")).is_success
        await gateway.event(6)
        limited = [e for e in gateway.events if e.status_code == 429]
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert [(e.error_type, e.user_id) for e in limited] == [("rate_limit_exceeded", "alice")]
    assert len(up.calls) == 5


async def test_tokens_are_settled_by_what_was_really_used(tmp_path: Path) -> None:
    limits = {"normal": [{"by": "user", "tokens_per_minute": 100}]}
    async with (
        running_upstream() as up,
        running_gateway(tmp_path, file_of(up, limits=limits)) as gateway,
    ):
        up.act = ok(body(usage={"prompt_tokens": 90, "completion_tokens": 60}))
        assert (await gateway.ask(X_Tocsin_User="a")).is_success
        refused = await gateway.ask(X_Tocsin_User="a")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) <= 33  # at first 50 in debt, 4 more needed


async def test_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [
        {"name": "web", "sha256": hash_key("the-key"), "plan": "pro"},
        {"name": "bob", "sha256": hash_key("bobs-key"), "user": "bob"},
    ]
    async with running_upstream() as up:
        file = file_of(up, keys=keys)
        file["upstreams"]["u0"]["api_key_env"] = "UP_KEY"
        async with running_gateway(tmp_path, file, environ={"UP_KEY": "up-secret"}) as gateway:
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                answer = await gateway.ask(**headers)
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_api_key"
                assert (await gateway.client.get(gateway.url + "/models")).status_code == 401
            answer = await gateway.ask(
                Authorization="Bearer the-key", X_Tocsin_User="u", X_Tocsin_Plan="enterprise"
            )
            assert answer.is_success
            assert (await gateway.ask(X_Api_Key="bobs-key", X_Tocsin_User="alice")).is_success
            await gateway.event(4)
            found = [(e.status_code, e.error_type, e.user_id, e.plan) for e in gateway.events]
    assert found == [
        (401, "authentication_error", None, None),
        (401, "authentication_error", None, None),
        (200, None, "u", "pro"),
        (200, None, "bob", None),
    ]
    assert up.calls[0].headers["authorization"] == "Bearer up-secret"
    written = "".join(capsys.readouterr())
    assert "secret" not in written
    assert "the-key" not in written
    assert "hello" not in written


async def test_shadow_copies_cost_the_client_nothing(tmp_path: Path) -> None:
    async with running_upstream() as up, running_upstream(stall()) as trial:
        file = file_of(up, trial)
        file["models"]["assistant"]["targets"][1]["versions"] = {"v2": "trial"}
        async with running_gateway(tmp_path, file) as gateway:
            add_flag(gateway.store, FlagKey.CANARY_VERSION, {"v2": "v2"})
            await gateway.obeys(FlagKey.CANARY_VERSION)
            await gateway.set(FlagKey.SHADOW_PERCENT, "100")
            assert (await gateway.ask()).is_success

            async def copied() -> bool:
                return len(trial.calls) == 1

            await until(copied)
            event = await gateway.event()
    assert event.model_version == "v1"
    assert trial.calls[0].json == {**CHAT, "model": "trial"}


async def test_health_and_what_is_not_there(tmp_path: Path) -> None:
    async with running_upstream() as up, running_gateway(tmp_path, file_of(up)) as gateway:
        root = gateway.url.removesuffix("/v1")
        assert (await gateway.client.get(root + "/health")).status_code == 200
        missing = await gateway.client.get(gateway.url + "/nothing")
        assert missing.status_code == 404
        assert "error" in missing.json()
        assert (await gateway.client.get(gateway.url + "/models/none")).status_code == 404
        assert (await gateway.client.get(gateway.url + "/chat/completions")).status_code == 405
        assert gateway.events == []


async def test_a_client_that_leaves_frees_the_upstream(tmp_path: Path) -> None:
    async with running_upstream(stall()) as up, running_gateway(tmp_path, file_of(up)) as gateway:
        asking = asyncio.ensure_future(gateway.ask(STREAM))

        async def asked() -> bool:
            return bool(up.calls)

        await until(asked)
        asking.cancel()
        event = await gateway.event()

        async def left() -> bool:
            return up.gone == 1

        await until(left)
    assert (event.aborted, event.status_code) == (True, 499)
    assert (event.provider, event.model_version) == ("p0", "v1")


async def test_a_client_that_leaves_in_the_middle(tmp_path: Path) -> None:
    endless = stream(*[piece(), 0.01] * 2_000)
    async with running_upstream(endless) as up, running_gateway(tmp_path, file_of(up)) as gateway:
        url = gateway.url + "/chat/completions"
        async with gateway.client.stream("POST", url, json=STREAM) as answer:
            async for _ in answer.aiter_raw():
                break
        event = await gateway.event()

        async def left() -> bool:
            return up.gone == 1

        await until(left)
    assert (event.aborted, event.status_code, event.error_type) == (True, 200, None)
    assert event.output_tokens
    assert event.tokens_estimated
