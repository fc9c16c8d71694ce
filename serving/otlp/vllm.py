"""vLLM's own spans (`vllm serve --otlp-traces-endpoint`): one for each sequence that is finished.

They tell the engine's times and tokens, but neither model, stream, user nor outcome: vLLM makes no
span of a request that it rejects or whose client leaves, and none of its spans says that it failed.
Names as in vLLM 0.32, `vllm/tracing/utils.py`.
"""

from __future__ import annotations

from typing import Final

from schemas.event import Operation
from serving.emit.join import join_key
from serving.otlp.span import Span, count_in, name_in, own_server, seconds_in
from serving.otlp.told import Told

__all__ = ["read_vllm"]

_NAME: Final = "llm_request"
_SCOPE: Final = "vllm."
_OPERATIONS: Final = {
    "chatcmpl": Operation.CHAT,
    "cmpl": Operation.TEXT_COMPLETION,
    "resp": Operation.RESPONSES,
    "embd": Operation.EMBEDDINGS,
}


def read_vllm(span: Span) -> Told | None:
    """Return what a span of vLLM's tells, or None when it is no request of vLLM's."""
    attributes = span.attributes
    engine_id = name_in(attributes, "gen_ai.request.id")
    ours = span.scope.startswith(_SCOPE) or "gen_ai.latency.time_in_queue" in attributes
    if span.name != _NAME or not (ours or engine_id):
        return None
    operation = _operation(engine_id or "")
    # What is embedded has no tokens to come first, though vLLM tells when it was done.
    generates = operation is not Operation.EMBEDDINGS
    return Told(
        source="vllm",
        identity=_identity(span, engine_id),
        operation=operation,
        provider="vllm",
        model=name_in(attributes, "gen_ai.request.model", "gen_ai.response.model"),
        model_version=name_in(attributes, "gen_ai.response.model"),
        server=own_server(span),
        request_id=join_key(engine_id) if engine_id else None,
        input_tokens=count_in(attributes, "gen_ai.usage.prompt_tokens"),
        output_tokens=count_in(attributes, "gen_ai.usage.completion_tokens"),
        part=engine_id,
        ttft_s=seconds_in(attributes, "gen_ai.latency.time_to_first_token") if generates else None,
        e2e_s=seconds_in(attributes, "gen_ai.latency.e2e"),
        queue_s=seconds_in(attributes, "gen_ai.latency.time_in_queue"),
        prefill_s=seconds_in(attributes, "gen_ai.latency.time_in_model_prefill"),
        decode_s=seconds_in(attributes, "gen_ai.latency.time_in_model_decode"),
    )


def _identity(span: Span, engine_id: str | None) -> str:
    """Return what the spans of a request's sequences share, and nothing else does.

    They have the request's id and the moment of its arrival in common. The id alone is not enough:
    clients may use one for several requests.
    """
    if engine_id is None:
        return f"{span.trace_id}/{span.span_id}"
    return f"{span.parent_id}/{join_key(engine_id)}/{span.start_ns}"


def _operation(engine_id: str) -> Operation:
    head = engine_id.replace("_", "-").partition("-")[0]
    return _OPERATIONS.get(head, Operation.OTHER)
