"""The endpoint's answers, as OTLP/HTTP has them."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import orjson
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from prometheus_client import REGISTRY

from schemas.dead_letter import DeadLetterReason
from schemas.settings import Settings
from serving.otlp.app import create_app
from serving.otlp.process import maker_of
from serving.otlp.span import Span
from tests.support.events import NOW_US
from tests.unit.serving.otlp.world import Taking, World, export, span

TOOL = {"gen_ai.operation.name": "execute_tool"}


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def spans_counted(source: str, outcome: str) -> float:
    return counted("tocsin_otlp_spans_total", source=source, outcome=outcome)


def test_an_export_is_taken() -> None:
    before = spans_counted("genai", "event"), spans_counted("other", "ignored")
    world = World()
    response = world.send(span(1), span(2, TOOL), span(3))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-protobuf"
    # Nothing is said of a success, so `partial_success` is not there.
    assert response.content == b""
    assert len(world.taking.events) == 2
    after = spans_counted("genai", "event"), spans_counted("other", "ignored")
    assert (after[0] - before[0], after[1] - before[1]) == (2, 1)


def test_json_is_answered_in_json() -> None:
    world = World()
    document = {
        "resourceSpans": [
            {
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": f"{1:032x}",
                                "spanId": f"{1:016x}",
                                "startTimeUnixNano": str(NOW_US * 1_000 - 10**9),
                                "endTimeUnixNano": str(NOW_US * 1_000),
                                "attributes": [
                                    {
                                        "key": "gen_ai.operation.name",
                                        "value": {"stringValue": "chat"},
                                    }
                                ],
                            }
                        ]
                    }
                ]
            }
        ]
    }
    response = world.post(orjson.dumps(document), content_type="application/json")
    assert (response.status_code, response.json()) == (200, {})
    assert response.headers["content-type"] == "application/json"
    (event,) = world.taking.events
    assert event.e2e_s == 1.0


def test_gzip() -> None:
    world = World()
    body = gzip.compress(export([span()]).SerializeToString())
    assert world.post(body, content_encoding="gzip").status_code == 200
    assert len(world.taking.events) == 1


def test_a_bad_span_is_refused_and_its_neighbours_are_not() -> None:
    world = World()
    reason = DeadLetterReason.TIME_OUT_OF_RANGE.value
    before = counted("tocsin_otlp_refused_spans_total", reason=reason)
    response = world.send(span(1), span(2, start_ns=5_000), span(3, TOOL, start_ns=5_000))
    assert response.status_code == 200
    said = ExportTraceServiceResponse.FromString(response.content).partial_success
    assert said.rejected_spans == 1
    assert "before 2020" in said.error_message
    assert [event.request_id for event in world.taking.events] == [f"{1:032x}/{1:016x}"]
    (letter,) = world.taking.letters
    assert (letter.reason.value, letter.offset) == (reason, 2)
    assert counted("tocsin_otlp_refused_spans_total", reason=reason) == before + 1


def test_one_request_in_two_spans_of_an_export_is_one_event() -> None:
    world = World()
    world.send(span(1), span(1))
    assert len(world.taking.events) == 1


def test_without_a_broker_nothing_is_acknowledged_or_counted() -> None:
    world = World()
    world.taking.away = True
    before = spans_counted("genai", "event")
    response = world.send(span())
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert Status.FromString(response.content).message == "the broker does not answer"
    assert spans_counted("genai", "event") == before
    world.taking.away = False
    assert world.send(span()).status_code == 200
    assert len(world.taking.events) == 1


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff", {}, 400),
        (b"{", {"content_type": "application/json"}, 400),
        (b"abc", {"content_encoding": "gzip"}, 400),
        (b"", {"content_type": "text/plain"}, 415),
        (b"", {"content_type": ""}, 415),
        (b"", {"content_encoding": "br"}, 415),
        (bytes(1_001), {}, 413),
        (gzip.compress(bytes(1_001), mtime=0), {"content_encoding": "gzip"}, 413),
    ],
)
def test_what_is_not_taken(body: bytes, headers: dict[str, str], status: int) -> None:
    world = World(body_bytes=1_000)
    before = counted("tocsin_otlp_exports_total", status=str(status))
    response = world.post(body, **headers)
    assert response.status_code == status
    assert "retry-after" not in response.headers
    if headers.get("content_type") == "application/json":
        assert response.json()["message"]
    else:
        assert Status.FromString(response.content).message
    assert counted("tocsin_otlp_exports_total", status=str(status)) == before + 1


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic secret", "secret"])
def test_with_a_token_nobody_else_gets_in(authorization: str) -> None:
    world = World(token="secret")
    response = world.send(span(), **({"authorization": authorization} if authorization else {}))
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert world.taking.events == []
    assert world.send(span(), authorization="bearer secret").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:4318", "localhost", "[::1]:4318"])
def test_without_a_token_this_machine_gets_in(host: str) -> None:
    assert World().send(span(), host=host).status_code == 200


def test_without_a_token_other_names_for_this_machine_get_nothing() -> None:
    assert World().send(span(), host="rebound.example").status_code == 400
    assert World(token="t").send(span(), host="x", authorization="Bearer t").status_code == 200


def test_other_paths_and_methods() -> None:
    client = World().client
    assert client.get("/v1/traces").status_code == 405
    assert client.post("/v1/metrics").status_code == 404
    assert client.get("/healthz").json() == {"status": "ok"}


def _http(**headers: str) -> dict[str, Any]:
    named = {"content-type": "application/x-protobuf", "host": "127.0.0.1"} | headers
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/traces",
        "raw_path": b"/v1/traces",
        "query_string": b"",
        "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in named.items()],
        "client": ("127.0.0.1", 1),
    }


async def test_a_body_that_does_not_come_in_time_is_given_up() -> None:
    settings = Settings.model_validate({"otlp": {"body_timeout_s": 0.01}})
    app = create_app(settings.otlp, maker_of(settings), Taking(), lambda: NOW_US)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(_http(), receive, send)
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"5") in sent[0]["headers"]


async def test_more_at_once_than_allowed_are_told_to_come_again() -> None:
    settings = Settings.model_validate({"otlp": {"concurrency": 1}})
    taking = Taking()
    app = create_app(settings.otlp, maker_of(settings), taking, lambda: NOW_US)
    arrived = asyncio.Event()

    async def ask(wait: asyncio.Event | None) -> Any:
        sent: list[Any] = []

        async def receive() -> Any:
            if wait is not None:
                arrived.set()
                await wait.wait()
            body = export([span()]).SerializeToString()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(_http(), receive, send)
        return sent[0]

    go = asyncio.Event()
    first = asyncio.create_task(ask(go))
    await arrived.wait()
    head = await ask(None)
    assert head["status"] == 429
    assert (b"retry-after", b"1") in head["headers"]
    go.set()
    assert (await first)["status"] == 200
    assert (await ask(None))["status"] == 200


async def test_a_client_that_leaves_has_handed_nothing_over() -> None:
    settings = Settings.model_validate({})
    taking = Taking()
    app = create_app(settings.otlp, maker_of(settings), taking, lambda: NOW_US)
    parts = [
        {"type": "http.request", "body": export([span()]).SerializeToString(), "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        pass

    await app(_http(), receive, send)
    assert taking.events == []


def test_a_fault_of_the_receivers_own_is_no_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("my secret")

    monkeypatch.setattr("serving.otlp.app.sort_spans", broken)
    response = World().send(span())
    assert response.status_code == 500
    assert b"secret" not in response.content


def test_a_span_that_is_too_much_for_the_code_is_refused_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(one: Span, *rest: Any) -> bool:
        if one.span_id.endswith("2"):
            raise ZeroDivisionError("my secret")
        return False

    monkeypatch.setattr("serving.otlp.sort.is_reported", broken)
    world = World()
    response = world.send(span(1), span(2), span(3))
    said = ExportTraceServiceResponse.FromString(response.content).partial_success
    assert (said.rejected_spans, len(world.taking.events)) == (1, 2)
    (letter,) = world.taking.letters
    assert letter.reason is DeadLetterReason.INTERNAL_ERROR
    assert "secret" not in letter.detail + said.error_message


def test_nothing_of_a_span_that_is_no_request_is_kept() -> None:
    world = World()
    world.send(span(attributes=TOOL | {"gen_ai.prompt": "x"}, trace_id="", name="agent"))
    assert (world.taking.events, world.taking.letters) == ([], [])
