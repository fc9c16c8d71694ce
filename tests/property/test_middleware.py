"""Whatever clients, servers and clocks do: one valid event, and nothing that passes is changed."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event import RequestEvent
from schemas.settings import EmitSettings
from serving.emit.declared import declare
from serving.emit.emission import Clock, Emission
from serving.emit.middleware import TocsinMiddleware
from serving.emit.operations import OPERATIONS
from serving.emit.sink import MemorySink
from tests.unit.serving.emit.test_answer import json_values

_LAST_US = 4_102_444_800_000_000

names = st.sampled_from(
    [b"x-request-id", b"X-Tocsin-User", b"x-tocsin-feature", b"x-tocsin-plan", b"x-tocsin-route"]
)
values = st.binary(max_size=40) | st.builds(
    lambda text, times: text * times, st.binary(min_size=1, max_size=4), st.integers(1, 100_000)
)
texts = st.text(max_size=20) | st.builds(
    lambda text, times: text * times, st.text(min_size=1, max_size=3), st.integers(1, 2_000)
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "model": texts | json_values,
        "user": texts | json_values,
        "metadata": json_values | st.dictionaries(st.sampled_from(["feature", "plan"]), texts),
        "n": json_values,
        "usage": json_values,
        "choices": json_values,
        "error": json_values,
        "prompt": json_values,
        "messages": json_values,
    },
)
documents = fields.map(orjson.dumps) | st.binary(max_size=60)
streams = st.lists(
    st.lists(documents.map(lambda data: b"data: " + data + b"\n\n") | st.binary(max_size=9)).map(
        b"".join
    ),
    max_size=4,
)
times = st.floats(min_value=-1e7, max_value=1e7) | st.sampled_from([0.0, 1e300, -1e300])


async def _serve(
    made: Emission,
    asked: list[bytes],
    status: int,
    kind: bytes,
    answered: list[bytes],
    scope: dict[str, Any],
) -> list[dict[str, Any]]:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        declare(scope, model_version="v" * 999, provider="")
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for body in answered:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    chunks = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in asked]
    messages = iter([*chunks, {"type": "http.request"}])
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await TocsinMiddleware(application, made)(scope, receive, send)
    return sent


@given(
    path=st.sampled_from(sorted(OPERATIONS)),
    headers=st.lists(st.tuples(names, values), max_size=5),
    asked=st.lists(documents, max_size=3),
    status=st.integers(0, 999),
    kind=st.sampled_from([b"text/event-stream", b"application/json", b"\xff"]),
    answered=streams,
    clock=st.lists(times, min_size=1, max_size=8),
    wall_us=st.integers(0, _LAST_US - 86_400_000_000),
    capture=st.booleans(),
)
def test_each_request_makes_one_event_that_the_schema_takes(
    path: str,
    headers: list[tuple[bytes, bytes]],
    asked: list[bytes],
    status: int,
    kind: bytes,
    answered: list[bytes],
    clock: list[float],
    wall_us: int,
    capture: bool,
) -> None:
    ticks = iter(clock * 40)
    sink = MemorySink()
    made = Emission(
        EmitSettings(server="s", capture_text=capture, prompt_hash=capture),
        sink,
        clock=Clock(lambda: next(ticks, 0.0), lambda: wall_us * 1_000),
    )
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "state": {}}
    sent = asyncio.run(_serve(made, asked, status, kind, answered, scope))
    assert [message.get("body") for message in sent] == [None, *answered, b""]
    assert sent[0]["status"] == status
    [event] = sink.messages
    assert isinstance(event, RequestEvent)
    assert RequestEvent.model_validate_json(event.to_json()) == event
    for name in (event.request_id, event.user_id, event.feature, event.plan, event.model):
        assert name is None or (name.isprintable() and len(name) <= 256)


@pytest.mark.parametrize("piece", [b"data: {broken\n\n", b'data: {"a": "\xff"}\n\n'])
def test_a_broken_piece_costs_no_other_of_its_message(piece: bytes) -> None:
    good = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
    sink = MemorySink()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [],
        "state": {},
    }
    made = Emission(EmitSettings(server="s"), sink)
    body = [good + piece + good * 10_000]
    asyncio.run(_serve(made, [b"{}"], 200, b"text/event-stream", body, scope))
    [event] = sink.messages
    assert isinstance(event, RequestEvent)
    assert event.output_tokens == 10_001
    assert event.tokens_estimated


def test_a_server_with_a_very_long_model_name_still_reports() -> None:
    sink = MemorySink()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/completions",
        "headers": [(b"x-tocsin-user", b"u" * 1_000_000), (b"x-request-id", b"a\r\nb: c")],
        "state": {},
    }
    made = Emission(EmitSettings(server="s"), sink)
    body = orjson.dumps({"model": "m" * 300, "choices": []})
    asyncio.run(_serve(made, [b"x" * 2_000_000], 999, b"application/json", [body], scope))
    [event] = sink.messages
    assert isinstance(event, RequestEvent)
    assert event.user_id == "u" * 256
    assert event.request_id == "ab: c"
    assert event.status_code == 599
