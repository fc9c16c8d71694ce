"""What each field of a RequestEvent means, in one sentence; ``docs/events.md`` is made of it."""

from __future__ import annotations

from typing import Final

from schemas.dead_letter import DeadLetterReason

__all__ = ["DEAD_LETTER_MEANINGS", "FIELD_MEANINGS"]

FIELD_MEANINGS: Final[dict[str, str]] = {
    "schema_version": "Version of this schema; another one goes to the dead letters.",
    "event_id": "UUIDv7 made by the emitter, UUIDv5 of a span's ids; what makes a row unique.",
    "request_id": "`X-Request-Id` as sent by the client, or made for it; of a span the "
    "response's id; clients can reuse ids.",
    "start_time_us": "When the request came in, UTC microseconds since 1970.",
    "end_time_us": "When its last byte went out, or it failed; windows and rows go by it.",
    "server": "Host and port, or the pod, that answered.",
    "provider": "Who serves the model; the price book and the fallback chain go by it.",
    "model": "The model that was asked for.",
    "model_version": "The version that answered; what a rollback changes.",
    "lora_adapter": "The adapter that answered, when there is one.",
    "operation": "What was asked for.",
    "stream": "Whether the client asked for a stream; absent where a span does not tell.",
    "route": "Why this version was chosen.",
    "failed_attempts": "Upstreams that a gateway asked in vain before, and why: `vllm-a:timeout`.",
    "feature": "The product feature behind the request: header `X-Tocsin-Feature` or `metadata`.",
    "user_id": "The end user: header `X-Tocsin-User` or OpenAI's `user`; never a metric's label.",
    "plan": "The user's plan: header `X-Tocsin-Plan` or `metadata`.",
    "status_code": "HTTP status sent; 200 also for a stream that broke later; absent where a span "
    "tells none.",
    "error_type": "Absent when it went well, else a short class such as `engine_dead`.",
    "finish_reasons": "One for each choice, as the engine says: `stop`, `length`, ...",
    "aborted": "The client went away before the end.",
    "input_tokens": "All prompt tokens, cached ones included.",
    "cached_input_tokens": "The part of `input_tokens` that came from a prefix cache.",
    "output_tokens": "Tokens generated, reasoning included.",
    "tokens_estimated": "Output tokens were counted by chunks, as the engine could not tell.",
    "ttft_s": "Start to the first byte of the answer's content; streams only.",
    "itl_mean_s": "Mean gap between output chunks.",
    "itl_max_s": "Longest gap between output chunks: what a user feels as a stall.",
    "tpot_s": "(end to end - TTFT) / (output tokens - 1).",
    "e2e_s": "End to end: start to last byte.",
    "queue_s": "Waiting for the engine, by its own clock.",
    "prefill_s": "Prefill, by the engine's own clock.",
    "decode_s": "Decode, by the engine's own clock.",
    "preemptions": "How often the engine put the request back for want of KV cache.",
    "prompt_hash": "SHA-256 of the prompt (HMAC with a key), if `TOCSIN_EMIT__PROMPT_HASH` is on.",
    "prompt_redacted": "The prompt, redacted at the edge, when `TOCSIN_EMIT__CAPTURE_TEXT` is on.",
    "output_redacted": "The answer, redacted at the edge, when capture is on.",
}

DEAD_LETTER_MEANINGS: Final[dict[DeadLetterReason, str]] = {
    DeadLetterReason.EMPTY: "no value, or an array without events",
    DeadLetterReason.TOO_LARGE: "larger than `TOCSIN_STREAMS__MAX_RECORD_BYTES`; never parsed",
    DeadLetterReason.NOT_JSON: "garbage bytes or truncated JSON",
    DeadLetterReason.NOT_AN_EVENT: "JSON, but no object",
    DeadLetterReason.UNKNOWN_SCHEMA_VERSION: "a `schema_version` that this code does not know",
    DeadLetterReason.UNKNOWN_FIELD: "a field that is not in the table above",
    DeadLetterReason.MISSING_FIELD: "a required field is not there",
    DeadLetterReason.INVALID_VALUE: "a wrong type, or a value out of its range",
    DeadLetterReason.TIME_OUT_OF_RANGE: "it ended before 2020",
    DeadLetterReason.TIME_IN_FUTURE: "it ended later than now + `TOCSIN_STREAMS__FUTURE_S`",
    DeadLetterReason.STORE_REFUSED: "valid, but ClickHouse will not take the row",
    DeadLetterReason.INTERNAL_ERROR: "valid, but a fault of Tocsin's kept it out; see the log",
}
