"""Spans, exports, and a receiver whose Kafka a test can take away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from starlette.testclient import TestClient

from schemas.dead_letter import DeadLetter
from schemas.event import RequestEvent
from schemas.settings import Settings
from serving.emit.batches import Encoded
from serving.errors import OtlpBusyError
from serving.otlp.app import create_app
from serving.otlp.process import maker_of
from serving.otlp.span import Kind, Span, SpanEvent
from tests.support.events import NOW_US

__all__ = ["CHAT", "END_NS", "START_NS", "Taking", "World", "export", "span"]

END_NS = NOW_US * 1_000
START_NS = END_NS - 2_000_000_000
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.response.model": "gpt-5-2026-08-01",
}


def span(number: int = 1, attributes: Mapping[str, Any] = CHAT, **fields: Any) -> Span:
    values: dict[str, Any] = {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "name": "chat gpt-5",
        "kind": Kind.CLIENT,
        "start_ns": START_NS,
        "end_ns": END_NS,
        "attributes": attributes,
        "events": tuple(
            SpanEvent(name, START_NS + round(after_s * 1e9), attrs)
            for name, after_s, attrs in fields.pop("happened", ())
        ),
    }
    return Span(**(values | fields))


def _any(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, Mapping):
        return AnyValue(kvlist_value=KeyValueList(values=_pairs(value)))
    if isinstance(value, Sequence):
        return AnyValue(array_value=ArrayValue(values=[_any(item) for item in value]))
    return AnyValue()


def _pairs(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any(value)) for key, value in attributes.items()]


def export(spans: Iterable[Span]) -> ExportTraceServiceRequest:
    """Return spans as a client sends them."""
    request = ExportTraceServiceRequest()
    for one in spans:
        of_resource = request.resource_spans.add()
        of_resource.resource.attributes.extend(_pairs(one.resource))
        of_scope = of_resource.scope_spans.add()
        of_scope.scope.name = one.scope
        wire = of_scope.spans.add(
            trace_id=bytes.fromhex(one.trace_id),
            span_id=bytes.fromhex(one.span_id),
            parent_span_id=bytes.fromhex(one.parent_id),
            trace_state=one.trace_state,
            name=one.name,
            kind=one.kind,
            start_time_unix_nano=one.start_ns,
            end_time_unix_nano=one.end_ns,
            attributes=_pairs(one.attributes),
        )
        if one.failed:
            wire.status.code = Status.STATUS_CODE_ERROR
        for event in one.events:
            wire.events.add(
                name=event.name,
                time_unix_nano=event.at_ns,
                attributes=_pairs(event.attributes),
            )
    return request


@dataclass
class Taking:
    """Takes what is handed over, unless the broker is away."""

    events: list[RequestEvent] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    away: bool = False
    closed: bool = False

    async def send(self, events: Sequence[Encoded], letters: Sequence[DeadLetter]) -> None:
        if self.away:
            raise OtlpBusyError(503, "the broker does not answer", 5)
        self.events += (RequestEvent.model_validate_json(one.value) for one in events)
        self.letters += letters

    async def close(self) -> None:
        self.closed = True


class World:
    """A receiver with the settings that are given for section `otlp`."""

    def __init__(
        self, emit: Mapping[str, Any] | None = None, now_us: int = NOW_US, **otlp: Any
    ) -> None:
        settings = Settings.model_validate({"otlp": otlp, "emit": emit or {}})
        self.taking = Taking()
        app = create_app(settings.otlp, maker_of(settings), self.taking, lambda: now_us)
        self.client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)

    def post(self, body: bytes, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"content-type": "application/x-protobuf"} | named
        return self.client.post("/v1/traces", content=body, headers=sent)

    def send(self, *spans: Span, **headers: str) -> Any:
        return self.post(export(spans).SerializeToString(), **headers)
