"""Which spans are of requests that Tocsin's gateway or middleware reports itself."""

from __future__ import annotations

from typing import Any

import pytest

from serving.emit.request_id import new_request_id
from serving.emit.trace_mark import mark_trace
from serving.otlp.span import Span
from tests.unit.serving.otlp.world import CHAT, World, span

TRACE, PARENT, OTHER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"


def events_of(one: Span, **otlp: Any) -> int:
    world = World(**otlp)
    assert world.send(one).status_code == 200
    assert world.taking.letters == []
    return len(world.taking.events)


def behind(state: str, parent: str = PARENT) -> Span:
    return span(parent_id=parent, trace_state=state)


def test_a_span_whose_parent_is_marked_is_reported() -> None:
    headers = [(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())]
    marked = dict(mark_trace(headers))[b"tracestate"].decode()
    assert events_of(behind(marked)) == 0
    assert events_of(behind(f"vendor=1, {marked}")) == 0


def test_what_an_application_asks_further_down_in_the_trace_is_another_request() -> None:
    assert events_of(behind(f"tocsin={PARENT}", OTHER)) == 1
    assert events_of(behind("tocsin=", "")) == 1
    assert events_of(behind(f"other={PARENT}")) == 1


@pytest.mark.parametrize("prefix", ["", "chatcmpl-", "cmpl-"])
def test_an_id_that_tocsin_has_made_is_reported(prefix: str) -> None:
    ours = prefix + new_request_id()
    suffix = "-0" if prefix == "cmpl-" else ""
    engine = {"gen_ai.request.id": ours + suffix}
    assert events_of(span(attributes=CHAT | {"gen_ai.response.id": ours})) == 0
    assert events_of(span(attributes=engine, name="llm_request")) == 0


@pytest.mark.parametrize("response", ["chatcmpl-1", "chatcmpl-0192f7c3a5e67d1b9a3c4f2e8b7d6a50"])
def test_other_ids_are_not(response: str) -> None:
    assert events_of(span(attributes=CHAT | {"gen_ai.response.id": response})) == 1


@pytest.mark.parametrize("value", ["true", 1, False])
def test_only_the_middlewares_own_mark_is_one(value: object) -> None:
    assert events_of(span(attributes=CHAT | {"tocsin.reported": value})) == 1
    assert events_of(span(attributes=CHAT | {"tocsin.reported": True})) == 0


def test_what_the_operator_declares() -> None:
    declared = {
        "server.address": ["gateway.internal:8800"],
        "service.name": ["rag"],
        "otel.scope.name": ["openai"],
    }
    asked = CHAT | {"server.address": "gateway.internal", "server.port": 8800}
    assert events_of(span(attributes=asked), reported=declared) == 0
    assert events_of(span(attributes=asked | {"server.port": 9}), reported=declared) == 1
    by_host = {"server.address": ["gateway.internal"]}
    assert events_of(span(attributes=asked), reported=by_host) == 0
    by_url = CHAT | {"gen_ai.openai.api_base": "http://gateway.internal:8800/v1"}
    for names in (declared, by_host):
        assert events_of(span(attributes=by_url), reported=names) == 0
    assert events_of(span(resource={"service.name": "rag"}), reported=declared) == 0
    assert events_of(span(scope="openai"), reported=declared) == 0
    assert events_of(span(resource={"service.name": "web"}), reported=declared) == 1
