"""What each way to end looks like to the middleware, over real sockets: one right event each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from schemas.engine import EngineSample
from schemas.event import Operation, RequestEvent, Route
from schemas.flag import FlagKey
from tests.support.fleet import Running, fleet_of, running_fleet
from tests.support.waiting import until

CHAT = {"model": "llama-3.1-70b", "messages": [{"role": "user", "content": "hello"}]}


async def ask(
    fleet: Running,
    body: dict[str, Any] | bytes,
    *,
    request_id: str = "r-1",
    provider: str = "vllm",
    path: str = "/chat/completions",
    **headers: str,
) -> tuple[httpx.Response, RequestEvent]:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {"X-Request-Id": request_id, "X-Sim-Output-Tokens": "20", **headers}
    async with httpx.AsyncClient() as client:
        response = await client.post(fleet.urls[provider] + path, content=content, headers=named)
    return response, await fleet.event(request_id)


def data_of(response: httpx.Response) -> list[Any]:
    lines = [line[6:] for line in response.text.split("\n\n") if line.startswith("data: {")]
    return [orjson.loads(line) for line in lines]


async def test_whole_answer(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, fleet_of(vllm={"versions": ["v1"]})) as fleet:
        response, event = await ask(
            fleet,
            CHAT,
            **{"X-Sim-Input-Tokens": "777", "X-Tocsin-Feature": "search", "X-Tocsin-User": "u"},
        )
    answer = response.json()
    assert response.status_code == 200
    assert len(answer["choices"][0]["message"]["content"].split()) == 20
    assert answer["usage"]["completion_tokens"] == event.output_tokens == 20
    assert event.input_tokens == 777
    assert (event.feature, event.user_id) == ("search", "u")
    assert (event.error_type, event.finish_reasons, event.stream) == (None, ("stop",), False)
    assert event.queue_s is not None
    assert event.prefill_s is not None
    assert event.decode_s is not None
    assert event.ttft_s is None
    assert event.server == fleet.urls["vllm"].removeprefix("http://").removesuffix("/v1")


async def test_stream(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, fleet_of(vllm={"versions": ["v1"]})) as fleet:
        body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
        response, event = await ask(fleet, body)
    pieces = data_of(response)
    text = "".join(p["choices"][0]["delta"].get("content", "") for p in pieces if p["choices"])
    assert len(text.split()) == 20
    assert pieces[0]["choices"][0]["delta"]["role"] == "assistant"
    assert pieces[-1]["usage"]["completion_tokens"] == 20
    assert response.text.endswith("data: [DONE]\n\n")
    assert (event.output_tokens, event.tokens_estimated) == (20, False)
    assert event.ttft_s is not None
    assert event.ttft_s >= (event.queue_s or 0) + (event.prefill_s or 0) > 0
    assert event.output_redacted == text


async def test_text_completion(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, fleet_of(vllm={"versions": ["v1"]})) as fleet:
        body = {"model": "llama-3.1-70b", "prompt": "once", "max_tokens": 7, "ignore_eos": True}
        response, event = await ask(fleet, body, path="/completions")
        streamed, second = await ask(
            fleet, {**body, "stream": True}, path="/completions", request_id="r-2"
        )
    assert len(response.json()["choices"][0]["text"].split()) == 7
    assert (event.operation, event.finish_reasons) == (Operation.TEXT_COMPLETION, ("length",))
    assert event.prefill_s is not None
    assert len("".join(p["choices"][0]["text"] for p in data_of(streamed)).split()) == 7
    assert second.output_tokens == 7


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({**CHAT, "model": "nobody"}, 404, "not_found"),
        (b"{torn", 400, "bad_request"),
        (b"[]", 400, "bad_request"),
        ({**CHAT, "max_tokens": 0}, 400, "bad_request"),
        ({**CHAT, "messages": []}, 400, "bad_request"),
        ({**CHAT, "max_tokens": 10_000_000, "stream": True}, 400, "bad_request"),
    ],
)
async def test_the_request_is_at_fault(
    tmp_path: Path, body: dict[str, Any] | bytes, status: int, error: str
) -> None:
    async with running_fleet(tmp_path, fleet_of(vllm={"versions": ["v1"]})) as fleet:
        response, event = await ask(fleet, body)
    assert response.status_code == event.status_code == status
    assert response.json()["error"]["code"] == status
    assert event.error_type == error
    assert event.rejected


async def test_a_bad_length_header_is_refused(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, fleet_of(vllm={"versions": ["v1"]})) as fleet:
        response, event = await ask(fleet, CHAT, **{"X-Sim-Input-Tokens": "many"})
    assert event.status_code == 400
    assert "x-sim-input-tokens" in response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_first_token(tmp_path: Path, stream: bool) -> None:
    bad = {"error_share": 1, "mid_stream_share": 0}
    async with running_fleet(tmp_path, fleet_of(vllm={"versions": {"v1": bad}})) as fleet:
        response, event = await ask(fleet, {**CHAT, "stream": stream})
    assert response.status_code == event.status_code == 500
    assert event.error_type == "engine_dead"
    assert event.failed
    assert event.output_tokens is None


async def test_a_stream_that_breaks_has_status_200(tmp_path: Path) -> None:
    bad = {"error_share": 1, "mid_stream_share": 1}
    async with running_fleet(tmp_path, fleet_of(vllm={"versions": {"v1": bad}})) as fleet:
        response, event = await ask(fleet, {**CHAT, "stream": True})
    assert response.status_code == event.status_code == 200
    assert data_of(response)[-1]["error"]["code"] == 500
    assert event.error_type == "engine_dead"
    assert event.failed
    assert event.tokens_estimated


async def test_degenerate_text(tmp_path: Path) -> None:
    bad = {"degenerate_share": 1, "output_factor": 2}
    async with running_fleet(tmp_path, fleet_of(vllm={"versions": {"v1": bad}})) as fleet:
        response, _ = await ask(fleet, CHAT)
    words = response.json()["choices"][0]["message"]["content"].split()
    assert len(words) == 40
    assert len(set(words)) <= 2


async def test_outage(tmp_path: Path) -> None:
    profile = fleet_of(vllm={"versions": ["v1"], "fault": {"outage": True}})
    async with running_fleet(tmp_path, profile) as fleet:
        response, event = await ask(fleet, CHAT)
    assert response.status_code == event.status_code == 503
    assert event.failed


async def test_a_full_queue(tmp_path: Path) -> None:
    slow = {"replicas": 1, "max_num_seqs": 1, "max_queued": 1, "step_s": 30}
    profile = fleet_of(vllm={"versions": ["v1"], "speed": slow})
    async with running_fleet(tmp_path, profile) as fleet, httpx.AsyncClient() as client:
        url = fleet.urls["vllm"] + "/chat/completions"
        asked = [asyncio.create_task(client.post(url, json=CHAT, timeout=60)) for _ in range(5)]

        async def turned_away() -> bool:
            return sum(task.done() for task in asked) == 3

        await until(turned_away)
        waiting = [task for task in asked if not task.done()]
        assert [task.result().status_code for task in asked if task.done()] == [503] * 3
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

        async def all_told() -> bool:
            return sum(event.aborted for event in fleet.events) == 2

        await until(all_told)
    assert sum(event.status_code == 503 for event in fleet.events) == 3


async def test_the_client_leaves(tmp_path: Path) -> None:
    slow = {"step_s": 0.05, "chunk_s": 0.05}
    profile = fleet_of(vllm={"versions": ["v1"], "speed": slow})
    async with running_fleet(tmp_path, profile) as fleet:
        async with httpx.AsyncClient() as client:
            request = client.build_request(
                "POST",
                fleet.urls["vllm"] + "/chat/completions",
                json={**CHAT, "stream": True},
                headers={"X-Request-Id": "gone", "X-Sim-Output-Tokens": "1000"},
            )
            response = await client.send(request, stream=True)
            await anext(response.aiter_raw())
            await response.aclose()
        event = await fleet.event("gone")
    assert (event.aborted, event.status_code, event.error_type) == (True, 200, None)
    assert event.tokens_estimated
    assert 1 <= (event.output_tokens or 0) < 1_000


async def test_the_flag_decides_the_version(tmp_path: Path) -> None:
    profile = fleet_of(
        vllm={"versions": ["v1", "v2"]}, backup={"versions": ["v1"], "route": "fallback"}
    )
    async with running_fleet(tmp_path, profile) as fleet:
        _, first = await ask(fleet, CHAT, request_id="before")
        fleet.store.set_variant(FlagKey.MODEL_VERSION, "v2", by="alice", reason="new", at_us=2)
        numbers = iter(range(1_000))

        async def answered_by_v2() -> bool:
            _, event = await ask(fleet, CHAT, request_id=f"try-{next(numbers)}")
            return event.model_version == "v2"

        await until(answered_by_v2)
        _, other = await ask(fleet, CHAT, request_id="other", provider="backup")
    assert (first.model_version, first.provider, first.route) == ("v1", "vllm", Route.STABLE)
    assert (other.model_version, other.provider, other.route) == ("v1", "backup", Route.FALLBACK)


async def test_the_engine_is_sampled(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, fleet_of(vllm={"versions": ["v1"]})) as fleet:
        samples = [m for m in fleet.sink.messages if isinstance(m, EngineSample)]
        assert samples[0].running_requests == 0
        assert fleet.urls["vllm"] == f"http://{samples[0].server}/v1"


async def test_models_and_health(tmp_path: Path) -> None:
    async with (
        running_fleet(tmp_path, fleet_of(vllm={"versions": ["v1"]})) as fleet,
        httpx.AsyncClient(base_url=fleet.urls["vllm"]) as client,
    ):
        assert (await client.get("models")).json()["data"][0]["id"] == "llama-3.1-70b"
        assert (await client.get("../health")).status_code == 200
        assert (await client.get("../admin/faults")).status_code == 404
        assert (await client.get("chat/completions")).status_code == 405
    assert fleet.events == []
