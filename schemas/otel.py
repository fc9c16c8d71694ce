"""How RequestEvent's fields map to OpenTelemetry's GenAI semantic conventions.

Fields without a standard term live in our own namespace ``tocsin.*``.
"""

from __future__ import annotations

from typing import Final

__all__ = ["OTEL_NAMES"]

OTEL_NAMES: Final[dict[str, str]] = {
    "schema_version": "tocsin.schema_version",
    "event_id": "tocsin.event.id",
    "request_id": "gen_ai.response.id",
    "start_time_us": "span start time (us)",
    "end_time_us": "span end time (us)",
    "server": "server.address",
    "provider": "gen_ai.provider.name",
    "model": "gen_ai.request.model",
    "model_version": "gen_ai.response.model",
    "lora_adapter": "tocsin.lora_adapter",
    "operation": "gen_ai.operation.name",
    "stream": "gen_ai.request.stream",
    "route": "tocsin.route",
    "failed_attempts": "tocsin.failed_attempts",
    "feature": "tocsin.feature",
    "user_id": "user.id",
    "plan": "tocsin.plan",
    "status_code": "http.response.status_code",
    "error_type": "error.type",
    "finish_reasons": "gen_ai.response.finish_reasons",
    "aborted": "tocsin.aborted",
    "input_tokens": "gen_ai.usage.input_tokens",
    "cached_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "tokens_estimated": "tocsin.usage.estimated",
    "ttft_s": "gen_ai.server.time_to_first_token",
    "itl_mean_s": "tocsin.inter_token_latency.mean",
    "itl_max_s": "tocsin.inter_token_latency.max",
    "tpot_s": "gen_ai.server.time_per_output_token",
    "e2e_s": "gen_ai.server.request.duration",
    "queue_s": "gen_ai.latency.time_in_queue",
    "prefill_s": "gen_ai.latency.time_in_model_prefill",
    "decode_s": "gen_ai.latency.time_in_model_decode",
    "preemptions": "tocsin.preemptions",
    "prompt_hash": "tocsin.prompt.hash",
    "prompt_redacted": "gen_ai.input.messages",
    "output_redacted": "gen_ai.output.messages",
}
