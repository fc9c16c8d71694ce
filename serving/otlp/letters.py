"""Dead letters of spans: what of them is no text of a user's, and where they came from."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import orjson

from schemas.base import SCHEMA_VERSION
from schemas.dead_letter import MAX_PAYLOAD_BYTES, DeadLetter
from serving.otlp.sort import Refused
from serving.otlp.span import Span

__all__ = ["SPANS", "letter_of"]

SPANS: Final = "otlp.traces"
"""Stands where letters of records have their topic."""

_TEXT: Final = 256
_KEPT: Final = re.compile(
    r"gen_ai\.(?:operation|provider|request|response|usage|latency)\..+"
    r"|gen_ai\.(?:system|is_streaming)"
    r"|llm\.(?:request|response|usage|token_count)\..+"
    r"|llm\.(?:is_streaming|model_name|provider|system|finish_reason)"
    r"|openinference\.span\.kind|error\.type|http\.(?:response\.)?status_code"
    r"|(?:server|service|host|k8s|telemetry|deployment|tocsin|vllm)\..+"
)
"""Attributes that tell why a span is wrong; others may hold what a user or a model has said."""


def letter_of(refused: Refused, at_us: int) -> DeadLetter:
    """Return the letter of a span; the same span sent again has the same place.

    The place in a topic is what a letter is known by. A span has none, but an id of 64 bits, which
    stands for the offset.
    """
    span = refused.span
    payload = _payload(span)
    origin = f"trace {span.trace_id or '-'}, span {span.span_id or '-'}"
    service = span.resource.get("service.name")
    if isinstance(service, str):
        origin += f", service {service[:100]}"
    # Without validation, which would take the payload for Base64 text.
    return DeadLetter.model_construct(
        schema_version=SCHEMA_VERSION,
        reason=refused.reason,
        detail=f"{refused.detail} ({origin})"[:2_000],
        topic=SPANS,
        partition=0,
        offset=_offset(span, payload),
        index=None,
        payload=payload[:MAX_PAYLOAD_BYTES],
        payload_size=len(payload),
        at_us=at_us,
    )


def _offset(span: Span, payload: bytes) -> int:
    if len(span.span_id) == 16:
        return int(span.span_id, 16)
    return int.from_bytes(hashlib.sha256(payload).digest()[:8], "big")


def _payload(span: Span) -> bytes:
    """Return of a span, as JSON, what is nobody's text."""
    document = {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_id,
        "name": span.name[:_TEXT],
        "kind": int(span.kind),
        "start_time_unix_nano": span.start_ns,
        "end_time_unix_nano": span.end_ns,
        "scope": span.scope[:_TEXT],
        "attributes": _harmless(span.attributes),
        "resource": _harmless(span.resource),
    }
    return orjson.dumps(document)


def _harmless(attributes: Any) -> dict[str, Any]:
    return {
        name[:_TEXT]: value[:_TEXT] if isinstance(value, str) else value
        for name, value in attributes.items()
        if isinstance(value, str | int | float) and _KEPT.fullmatch(name)
    }
