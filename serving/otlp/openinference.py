"""Spans of OpenInference (Arize, Phoenix): `openinference.span.kind` and `llm.*`.

Kinds LLM and EMBEDDING are requests; CHAIN, TOOL, AGENT, RETRIEVER, RERANKER, GUARDRAIL, EVALUATOR
and PROMPT are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from schemas.event import Operation
from serving.emit.request import clean_name
from serving.otlp.genai import server_of
from serving.otlp.outcome import outcome_of
from serving.otlp.span import Span, count_in, name_in, names_in
from serving.otlp.told import Told

__all__ = ["read_openinference"]

_OPERATIONS: Final = {"LLM": Operation.CHAT, "EMBEDDING": Operation.EMBEDDINGS}
_LONGEST: Final = 65_536
_ID: Final = re.compile(r'\{\s*"id"\s*:\s*"([^"\\]{1,256})"')
_FIRST_TOKEN: Final = "First Token Stream Event"  # noqa: S105


def read_openinference(span: Span) -> Told | None:
    """Return what a span of OpenInference tells, or None when it is no request."""
    attributes = span.attributes
    kind = name_in(attributes, "openinference.span.kind")
    operation = _OPERATIONS.get(kind.upper()) if kind else None
    if operation is None:
        return None
    outcome = outcome_of(span)
    moments = [event.at_ns for event in span.events if event.name == _FIRST_TOKEN]
    first = min(moments, default=0)
    provider = name_in(attributes, "llm.provider", "llm.system")
    asked = _asked(attributes)
    response = name_in(attributes, "llm.response.model_name")
    named = name_in(attributes, "llm.request.model_name", "llm.model_name", "embedding.model_name")
    return Told(
        source="openinference",
        identity=f"{span.trace_id}/{span.span_id}",
        operation=operation,
        provider=provider.lower() if provider else None,
        model=named or name_in(asked, "model") or response,
        model_version=response,
        server=server_of(attributes),
        request_id=_response_id(attributes),
        stream=True if moments else _stream(asked),
        user_id=name_in(attributes, "user.id"),
        status_code=outcome.status_code,
        error_type=outcome.error_type,
        aborted=outcome.aborted,
        finish_reasons=names_in(attributes, "llm.finish_reason"),
        input_tokens=count_in(attributes, "llm.token_count.prompt"),
        cached_input_tokens=count_in(attributes, "llm.token_count.prompt_details.cache_read"),
        output_tokens=count_in(attributes, "llm.token_count.completion"),
        ttft_s=(first - span.start_ns) / 1e9 if span.start_ns <= first <= span.end_ns else None,
    )


def _asked(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the call, which are there even when no answer came."""
    text = attributes.get("llm.invocation_parameters") or attributes.get(
        "embedding.invocation_parameters"
    )
    if not isinstance(text, str) or len(text) > _LONGEST:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _response_id(attributes: Mapping[str, Any]) -> str | None:
    """Return the id with which an answer in one piece begins; there is no attribute for it."""
    answer = attributes.get("output.value")
    found = _ID.match(answer) if isinstance(answer, str) else None
    return clean_name(found[1]) if found else None


def _stream(asked: Mapping[str, Any]) -> bool | None:
    """Return whether a stream was asked for; parameters that do not say so ask for none."""
    stream = asked.get("stream", False) if asked else None
    return stream if isinstance(stream, bool) else None
