"""Spans of OpenTelemetry's GenAI conventions, in their current and older names.

Current: `gen_ai.operation.name`, `gen_ai.provider.name`, `gen_ai.usage.input_tokens`. Older, and
OpenLLMetry's: `gen_ai.system`, `gen_ai.usage.prompt_tokens`, `llm.request.type`.
A span is a request when its operation asks a model to compute; tools, agents, workflows and
retrievals are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from schemas.event import Operation
from serving.otlp.outcome import outcome_of
from serving.otlp.span import Kind, Span, count_in, name_in, names_in, own_server, seconds_in
from serving.otlp.told import Told

__all__ = ["read_genai", "server_of"]

_OPERATIONS: Final = {
    "chat": Operation.CHAT,
    "text_completion": Operation.TEXT_COMPLETION,
    "generate_content": Operation.OTHER,
    "embeddings": Operation.EMBEDDINGS,
    "responses": Operation.RESPONSES,
    "messages": Operation.MESSAGES,
}
_OLD_TYPES: Final = {
    "chat": Operation.CHAT,
    "completion": Operation.TEXT_COMPLETION,
    "embedding": Operation.EMBEDDINGS,
    "rerank": Operation.OTHER,
}
_AUTHORITY: Final = re.compile(r"https?://(?:[^/?#@]*@)?([^/?#@]+)")
_REQUEST_KINDS: Final = (Kind.CLIENT, Kind.SERVER)
_FIRST_TOKEN: Final = frozenset(
    {"gen_ai.content.completion.chunk", "llm.content.completion.chunk", "gen_ai.choice"}
)
"""Events of which the first marks the first token of a stream."""


def read_genai(span: Span) -> Told | None:
    """Return what a GenAI span tells, or None when it is no request."""
    attributes = span.attributes
    operation = _operation(span)
    if operation is None:
        return None
    outcome = outcome_of(span)
    stream = _stream(attributes)
    response = name_in(attributes, "gen_ai.response.model")
    provider = name_in(attributes, "gen_ai.provider.name", "gen_ai.system")
    return Told(
        source="genai",
        identity=f"{span.trace_id}/{span.span_id}",
        operation=operation,
        provider=provider.lower() if provider else None,
        model=name_in(attributes, "gen_ai.request.model") or response,
        model_version=response,
        server=own_server(span) if span.kind == Kind.SERVER else server_of(attributes),
        stream=stream,
        request_id=name_in(attributes, "gen_ai.response.id"),
        user_id=name_in(attributes, "gen_ai.user", "llm.user"),
        status_code=outcome.status_code,
        error_type=outcome.error_type,
        aborted=outcome.aborted,
        finish_reasons=names_in(
            attributes,
            "gen_ai.response.finish_reasons",
            "gen_ai.response.finish_reason",
            "llm.response.finish_reason",
            "gen_ai.completion.0.finish_reason",
        ),
        input_tokens=count_in(
            attributes, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"
        ),
        cached_input_tokens=count_in(
            attributes,
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
        ),
        output_tokens=count_in(
            attributes, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"
        ),
        choices=count_in(attributes, "gen_ai.request.choice.count", "gen_ai.request.n") or 1,
        ttft_s=_ttft_s(span, stream=stream),
    )


def server_of(attributes: Mapping[str, Any]) -> str | None:
    """Return host and port that a client has asked."""
    host = name_in(attributes, "server.address", "net.peer.name")
    if host is None:
        base = name_in(attributes, "gen_ai.openai.api_base")
        found = _AUTHORITY.match(base) if base else None
        return found[1] if found else None
    port = attributes.get("server.port", attributes.get("net.peer.port"))
    return f"{host}:{port}"[:256] if type(port) is int and 0 < port < 65_536 else host


def _operation(span: Span) -> Operation | None:
    attributes = span.attributes
    if (named := name_in(attributes, "gen_ai.operation.name")) is not None:
        return _OPERATIONS.get(named)
    if (old := name_in(attributes, "llm.request.type")) is not None:
        return _OLD_TYPES.get(old)
    if "traceloop.span.kind" in attributes or "gen_ai.tool.name" in attributes:
        return None
    model = name_in(attributes, "gen_ai.request.model", "gen_ai.response.model")
    of_a_model = model is not None and "gen_ai.system" in attributes
    return Operation.OTHER if of_a_model and span.kind in _REQUEST_KINDS else None


def _stream(attributes: Mapping[str, Any]) -> bool | None:
    names = ("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming")
    told = next((attributes[name] for name in names if name in attributes), None)
    return told if isinstance(told, bool) else None


def _ttft_s(span: Span, *, stream: bool | None) -> float | None:
    """Return the time to the first token; of an answer in one piece there is none."""
    if stream is False:
        return None
    told = seconds_in(
        span.attributes, "gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token"
    )
    if told is not None:
        return told
    # An answer in one piece has its `gen_ai.choice`, too, at its end.
    firsts = _FIRST_TOKEN if stream else _FIRST_TOKEN - {"gen_ai.choice"}
    moments = [event.at_ns for event in span.events if event.name in firsts]
    first = min(moments, default=0)
    return (first - span.start_ns) / 1e9 if span.start_ns <= first <= span.end_ns else None
