"""Clients see through the gateway what they saw of a real vLLM: its recorded answers, replayed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import openai
import orjson
import pytest

from tests.support.gateway import file_of, running_gateway
from tests.support.upstream import Act, running_upstream
from tests.support.vllm.replay import load

SAME = [
    "admission_limit",
    "bad_parameter",
    "chat",
    "chat_lora",
    "chat_n2",
    "chat_n2_stream",
    "chat_stop",
    "chat_stream",
    "chat_stream_usage",
    "chat_tool",
    "chat_tool_stream",
    "chat_tools",
    "chat_tools_stream",
    "completion",
    "completion_stream",
    "completion_two_prompts",
    "embeddings",
    "engine_dies",
    "engine_dies_messages",
    "engine_dies_responses",
    "engine_dies_stream",
    "messages",
    "messages_stream",
    "prompt_too_long",
    "responses",
    "responses_stream",
    "server_abort_stream",
]
"""What the upstream says, word for word."""

OWN = {
    "bad_json": 400,
    "embeddings_bad": 404,
    "messages_bad": 404,
    "responses_bad": 404,
    "unknown_model": 404,
    "unknown_model_stream": 404,
}
"""What the gateway says itself, with the same status and the same kind of error."""


def asked(case: str) -> tuple[str, bytes]:
    """Return path and body of a recorded request."""
    lines = load(case)
    parts = [line["message"].get("body", "") for line in lines if line["kind"] == "receive"]
    return lines[0]["path"], "".join(parts).encode("utf-8", "surrogateescape")


def replayed(case: str) -> Act:
    """Answer as it was recorded, chunk by chunk."""
    sent = [line["message"] for line in load(case) if line["kind"] == "send"]

    async def act(writer: asyncio.StreamWriter) -> None:
        start, *bodies = sent
        head = [f"HTTP/1.1 {start['status']} X", "transfer-encoding: chunked"]
        head += [
            f"{name}: {value}"
            for name, value in start["headers"]
            if name.lower() not in ("content-length", "transfer-encoding", "connection")
        ]
        writer.write("\r\n".join([*head, "", ""]).encode())
        for message in bodies:
            if body := message.get("body", "").encode("utf-8", "surrogateescape"):
                writer.write(b"%x\r\n%b\r\n" % (len(body), body))
                await writer.drain()
                await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")

    return act


def file_for(upstream: Any) -> dict[str, Any]:
    target = {"upstream": "u0"}
    models = {
        name: {"targets": [{**target, "versions": {"v1": name}}]} for name in ("tiny", "tiny-lora")
    }
    return {**file_of(upstream), "models": models}


async def raw(url: str, path: str, body: bytes) -> tuple[int, str, bytes]:
    async with httpx.AsyncClient(timeout=20) as client:
        headers = {"content-type": "application/json"}
        answer = await client.post(url.removesuffix("/v1") + path, content=body, headers=headers)
    return answer.status_code, answer.headers["content-type"], answer.content


@pytest.mark.parametrize("case", SAME)
async def test_the_same_bytes(tmp_path: Path, case: str) -> None:
    path, body = asked(case)
    async with (
        running_upstream(replayed(case)) as vllm,
        running_gateway(tmp_path, file_for(vllm)) as gateway,
    ):
        direct = await raw(vllm.url, path, body)
        through = await raw(gateway.url, path, body)
        event = await gateway.event()
    assert through == direct
    assert event.status_code == direct[0]
    broke = b'"error":' in direct[2] and direct[0] == 200 and b'"error":null' not in direct[2]
    assert bool(event.error_type) == (direct[0] >= 400 or broke or case == "server_abort_stream")


@pytest.mark.parametrize("case", OWN)
async def test_the_same_kind_of_error(tmp_path: Path, case: str) -> None:
    path, body = asked(case)
    async with (
        running_upstream(replayed(case)) as vllm,
        running_gateway(tmp_path, file_for(vllm)) as gateway,
    ):
        direct = await raw(vllm.url, path, body)
        through = await raw(gateway.url, path, body)
    assert direct[0] == through[0] == OWN[case]
    own, vllm_s = (orjson.loads(answer[2])["error"] for answer in (through, direct))
    assert own.keys() >= vllm_s.keys()


async def outcome(url: str, path: str, body: dict[str, Any]) -> list[Any]:
    """Return what OpenAI's client makes of an answer: its objects, or its exception."""
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    create: Any = {
        "/v1/chat/completions": client.chat.completions.create,
        "/v1/completions": client.completions.create,
        "/v1/embeddings": client.embeddings.create,
        "/v1/responses": client.responses.create,
    }[path]
    named = ("model", "messages", "prompt", "input", "stream")
    arguments = {key: body[key] for key in named if key in body}
    rest = {key: value for key, value in body.items() if key not in named}
    known: list[Any] = []
    try:
        answer = await create(**arguments, extra_body=rest)
        if body.get("stream"):
            async for part in answer:
                known.append(part.model_dump())  # noqa: PERF401
        else:
            known.append(answer.model_dump())
    except openai.OpenAIError as error:
        known += [type(error).__name__, getattr(error, "code", None), str(error)]
    await client.close()
    return known


@pytest.mark.parametrize("case", [c for c in SAME if "messages" not in c])
async def test_the_official_client_sees_the_same(tmp_path: Path, case: str) -> None:
    path, content = asked(case)
    body = orjson.loads(content)
    async with (
        running_upstream(replayed(case)) as vllm,
        running_gateway(tmp_path, file_for(vllm)) as gateway,
    ):
        direct = await outcome(vllm.url, path, body)
        through = await outcome(gateway.url, path, body)
    assert through == direct
    assert direct
