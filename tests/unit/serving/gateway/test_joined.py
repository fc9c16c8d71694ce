"""A gateway and the servers behind it see the same request: it is one event, with both views."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from schemas.event import Route
from schemas.settings import EmitSettings
from serving.emit.join import EngineRecord
from serving.emit.joined import (
    FACTS_HEADER,
    FACTS_MARK,
    JOIN_HEADER,
    STREAMED_FACTS,
    asks_to_join,
    facts_of,
    read_facts,
)
from tests.support.fleet import Running, fleet_of, running_fleet
from tests.support.gateway import file_of, running_gateway
from tests.support.upstream import DONE, piece, running_upstream, stream
from tests.support.vllm.replay import load, play

CHAT = {"model": "assistant", "messages": [{"role": "user", "content": "hello"}]}
TOKEN = {"gateway_token": "shared"}
MODEL = "llama-3.1-70b"


def file_for(fleet: Running, **upstream: Any) -> dict[str, Any]:
    file = file_of(*fleet.urls.values())
    for name, entry in zip(fleet.urls, file["upstreams"].values(), strict=True):
        entry.update(provider=name, joined=True, forward_headers=["x-sim-output-tokens"])
        entry.update(upstream)
    for target in file["models"]["assistant"]["targets"]:
        target["versions"] = {"v1": MODEL}
    return file


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("choices", [1, 2])
async def test_one_event_with_both_views(tmp_path: Path, stream: bool, choices: int) -> None:
    profile = fleet_of(vllm={"versions": ["v1"]})
    asked = {**CHAT, "stream": stream, "n": choices}
    async with (
        running_fleet(tmp_path, profile, emit=TOKEN) as fleet,
        running_gateway(tmp_path, file_for(fleet), providers=("vllm",), emit=TOKEN) as gateway,
    ):
        answer = await gateway.ask(asked, X_Sim_Output_Tokens="20", X_Request_Id="r-1")
        event = await gateway.event()
    assert answer.status_code == 200
    assert b"tocsin" not in answer.content
    assert "x-tocsin-facts" not in answer.headers
    if stream:
        assert answer.content.endswith(b"data: [DONE]\n\n")
    assert fleet.events == []
    assert (event.output_tokens, event.tokens_estimated) == (20, False)
    assert event.input_tokens
    assert None not in (event.queue_s, event.prefill_s, event.decode_s, event.preemptions)
    assert (event.request_id, event.server) == ("r-1", fleet.urls["vllm"][7:-3])


async def test_a_fallback_is_still_one_event(tmp_path: Path) -> None:
    profile = fleet_of(
        vllm={"versions": ["v1"], "fault": {"outage": True}}, backup={"versions": ["v1"]}
    )
    async with (
        running_fleet(tmp_path, profile, emit=TOKEN) as fleet,
        running_gateway(tmp_path, file_for(fleet), providers=("vllm",), emit=TOKEN) as gateway,
    ):
        assert (await gateway.ask(CHAT)).status_code == 200
        event = await gateway.event()
    assert fleet.events == []
    assert (event.provider, event.route) == ("backup", Route.FALLBACK)
    assert event.queue_s is not None


async def test_the_server_s_view_is_waited_for_though_the_client_hangs_up_at_the_end(
    tmp_path: Path,
) -> None:
    """OpenAI's client closes the connection on `[DONE]`, after which a server tells its view."""
    engine = {"queue_s": 0.5, "prefill_s": 0.25, "decode_s": 1.0, "output_tokens": 3}
    facts = FACTS_MARK + orjson.dumps({"engine": engine}) + b"\n\n"
    telling = stream(piece("a"), DONE, 0.2, facts, x_tocsin_facts="stream")
    async with running_upstream(telling) as upstream:
        file = file_of(upstream)
        file["upstreams"]["u0"]["joined"] = True
        async with running_gateway(tmp_path, file, emit=TOKEN) as gateway:
            asked = {**CHAT, "stream": True}
            asking = gateway.client.stream("POST", gateway.url + "/chat/completions", json=asked)
            async with asking as answer:
                async for chunk in answer.aiter_raw():
                    if DONE in chunk:
                        break
            event = await gateway.event()
    assert not event.aborted
    assert (event.queue_s, event.output_tokens, event.tokens_estimated) == (0.5, 3, False)
    assert upstream.gone == 0


@pytest.mark.parametrize(
    ("emit", "headers"),
    [
        (TOKEN, {}),
        (TOKEN, {"x-tocsin-join": "wrong"}),
        (TOKEN, {"x-tocsin-join": ""}),
        ({}, {"x-tocsin-join": ""}),
    ],
)
async def test_no_client_can_hide_from_a_server(
    tmp_path: Path, emit: dict[str, str], headers: dict[str, str]
) -> None:
    profile = fleet_of(vllm={"versions": ["v1"]})
    headers = {"x-request-id": "r", **headers}
    async with running_fleet(tmp_path, profile, emit=emit) as fleet, httpx.AsyncClient() as http:
        url = fleet.urls["vllm"] + "/chat/completions"
        answer = await http.post(url, json={**CHAT, "model": MODEL}, headers=headers)
        assert "x-tocsin-facts" not in answer.headers
        await fleet.event("r")


async def test_a_server_that_does_not_join_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = fleet_of(vllm={"versions": ["v1"]})
    async with (
        running_fleet(tmp_path, profile, emit={"gateway_token": "another"}) as fleet,
        running_gateway(tmp_path, file_for(fleet), providers=("vllm",), emit=TOKEN) as gateway,
    ):
        await gateway.ask(CHAT)
        event = await gateway.event()
    assert event.queue_s is None
    assert len(fleet.events) == 1
    labels = {"upstream": "u0"}
    assert (REGISTRY.get_sample_value("tocsin_gateway_unjoined_total", labels) or 0) >= 1
    assert "TOCSIN_EMIT__GATEWAY_TOKEN" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("headers", "token", "joins"),
    [
        ([(JOIN_HEADER, b"t")], b"t", True),
        ([(b"X-Tocsin-Join", b"t")], b"t", True),
        ([(JOIN_HEADER, b"T")], b"t", False),
        ([(JOIN_HEADER, b"")], b"", False),
        ([], b"t", False),
    ],
)
def test_who_may_join(headers: list[tuple[bytes, bytes]], token: bytes, joins: bool) -> None:
    assert asks_to_join(headers, token) is joins


@pytest.mark.parametrize("case", ["chat", "chat_n2", "chat_stream", "completion_stream"])
async def test_what_a_real_vllm_would_tell(case: str) -> None:
    """Its recorded messages and statistics, played to the middleware for a gateway."""
    lines = load(case)
    lines[0]["headers"] += [["x-tocsin-join", "shared"]]
    played = await play(lines, settings=EmitSettings(server="s", join_wait_s=0, **TOKEN))
    assert played.events == []
    [start] = [m for m in played.sent if m["type"] == "http.response.start"]
    told = dict(start["headers"])[FACTS_HEADER]
    if told == STREAMED_FACTS:
        last = played.sent[-1]["body"]
        assert last.startswith(FACTS_MARK)
        assert last.endswith(b"\n\n")
        told = last[len(FACTS_MARK) :]
    state: dict[str, Any] = {}
    record = read_facts(told.strip(), state, "chatcmpl-1", 0)
    assert record is not None
    assert record.output_tokens
    assert record.prefill_s is not None
    if usage := state["request_metadata"].final_usage_info.completion_tokens:
        assert usage == record.output_tokens


def test_facts_survive_the_way() -> None:
    records = [
        EngineRecord("chatcmpl-x", 1, "stop", 0.5, 0.25, 1.5, 0.01, 2, 10, 4, 20),
        EngineRecord("chatcmpl-x", 1, "length", 0.75, 0.25, 1.0, 0.02, 0, 10, 4, 30),
    ]
    usage = SimpleNamespace(prompt_tokens=10, completion_tokens=50, prompt_tokens_details=None)
    told = facts_of(records, {"request_metadata": SimpleNamespace(final_usage_info=usage)})
    assert b"\n" not in FACTS_MARK + told
    state: dict[str, Any] = {}
    record = read_facts(told, state, "chatcmpl-1", 7)
    assert record == EngineRecord("chatcmpl-1", 7, "stop", 0.75, 0.25, 1.5, 0.02, 2, 10, 4, 50)
    assert state["request_metadata"].final_usage_info.completion_tokens == 50
    assert facts_of([], {}) == b"{}"


@given(st.one_of(st.none(), st.binary(max_size=40), st.just(b'{"a": "' + b"x" * 9_000 + b'"}')))
def test_what_is_no_facts_is_as_good_as_none(data: bytes | None) -> None:
    assert read_facts(data, {}, "chatcmpl-1", 0) is None


@pytest.mark.parametrize(
    "facts",
    [
        {"engine": 1},
        {"usage": []},
        {"engine": {"queue_s": "x", "preemptions": -1, "finish_reasons": [1]}},
        {"engine": {"queue_s": True, "input_tokens": 1.5}, "usage": {"prompt_tokens": "x"}},
    ],
)
def test_odd_facts_are_unknown(facts: dict[str, Any]) -> None:
    record = read_facts(orjson.dumps(facts), {}, "chatcmpl-1", 0)
    assert record in (None, EngineRecord("chatcmpl-1", 0))
