"""The bytes of an export to its spans: gzip, protobuf or JSON, each within bounds.

OTLP's JSON is protobuf's with three exceptions, of which ids in hexadecimal is the one that matters
here: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from serving.errors import OtlpError
from serving.otlp.span import Span, SpanEvent

__all__ = ["Encoding", "encoding_of", "parse", "spans_in", "unpack"]

_GZIP: Final = 31  # zlib's window bits for a gzip header
_DEPTH: Final = 8
"""How deep a value may be nested; what lies deeper is left out."""
_FIELD: Final = re.compile(r"Failed to parse (\w+) field: ")
_FIELDS: Final = re.compile(rf"(?:{_FIELD.pattern})*")
_IDS: Final = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")


class Encoding(StrEnum):
    """How a message is written, by its media type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


def encoding_of(content_type: str) -> Encoding:
    """Return the encoding that a Content-Type names.

    Raises:
        OtlpError: 415, it is neither of the two.
    """
    media = content_type.partition(";")[0].strip().lower()
    try:
        return Encoding(media)
    except ValueError:
        raise OtlpError(
            415, f"Content-Type: expected {' or '.join(Encoding)}, not {media[:100]!r}"
        ) from None


def unpack(body: bytes, content_encoding: str, limit: int) -> bytes:
    """Return a body without its compression.

    Raises:
        OtlpError: 415, compressed otherwise; 413, more than `limit` bytes; 400, no gzip or torn.
    """
    coding = content_encoding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding != "gzip":
        raise OtlpError(415, f"Content-Encoding: expected gzip or none, not {coding[:100]!r}")
    parts, left, data = [], limit, body
    try:
        while data:  # a gzip file may have several members
            unpacker = zlib.decompressobj(_GZIP)
            part = unpacker.decompress(data, left + 1)
            left -= len(part)
            if left < 0:
                raise OtlpError(413, f"the body is larger than {limit} bytes when unpacked")
            if not unpacker.eof:
                raise OtlpError(400, "the body is gzip that breaks off")
            parts.append(part)
            data = unpacker.unused_data
    except zlib.error as error:
        raise OtlpError(400, f"the body is no gzip: {error}") from None
    return b"".join(parts)


def parse(body: bytes, encoding: Encoding) -> ExportTraceServiceRequest:
    """Return an export as a protobuf message.

    Raises:
        OtlpError: 400, it is none; says why.
    """
    if encoding is Encoding.PROTOBUF:
        try:
            return ExportTraceServiceRequest.FromString(body)
        except DecodeError:
            raise OtlpError(400, "the body is no ExportTraceServiceRequest in protobuf") from None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise OtlpError(400, f"the body is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise OtlpError(400, "the body is no ExportTraceServiceRequest: expected a JSON object")
    try:
        _ids_in_base64(document)
        return ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (ParseError, RecursionError) as error:
        # The rest of the text quotes what the field held.
        where = ".".join(_FIELD.findall(_FIELDS.match(str(error))[0])) or "too deep"  # type: ignore[index]
        raise OtlpError(
            400, f"the body is no ExportTraceServiceRequest: wrong at {where}"
        ) from None


def spans_in(request: ExportTraceServiceRequest) -> Iterator[Span]:
    """Yield the spans of an export."""
    for of_resource in request.resource_spans:
        resource = _attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield _span(span, resource, of_scope.scope.name)


def _span(span: WireSpan, resource: Mapping[str, Any], scope: str) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        trace_state=span.trace_state,
        name=span.name,
        kind=span.kind,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        resource=resource,
        scope=scope,
        events=tuple(
            SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes))
            for event in span.events
        ),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    items: Iterator[KeyValue] = iter(pairs)
    return {item.key: _value(item.value, _DEPTH) for item in items}


def _value(value: AnyValue, depth: int) -> Any:
    """Return a value as Python's own; None is one that is not set, too deep, or of bytes."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item, depth - 1) for item in value.array_value.values] if depth else None
    if kind == "kvlist_value":
        if not depth:
            return None
        return {item.key: _value(item.value, depth - 1) for item in value.kvlist_value.values}
    return (
        getattr(value, kind)
        if kind in ("string_value", "bool_value", "int_value", "double_value")
        else None
    )


def _ids_in_base64(document: dict[str, Any]) -> None:
    """Write the ids of spans and links as protobuf's JSON has them; what is no id becomes none."""
    for of_resource in _objects(document, "resourceSpans", "resource_spans"):
        for of_scope in _objects(of_resource, "scopeSpans", "scope_spans"):
            for span in _objects(of_scope, "spans"):
                for item in (span, *_objects(span, "links")):
                    for name in _IDS:
                        if name in item:
                            item[name] = _base64(item[name])


def _objects(parent: dict[str, Any], *names: str) -> Iterator[dict[str, Any]]:
    for name in names:
        children = parent.get(name)
        yield from (
            (c for c in children if isinstance(c, dict)) if isinstance(children, list) else ()
        )


def _base64(text: object) -> str:
    try:
        return base64.b64encode(bytes.fromhex(text)).decode() if isinstance(text, str) else ""
    except ValueError:
        return ""
