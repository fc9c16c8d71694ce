"""What the event of each case must say; times aside, which are what they are."""

from __future__ import annotations

from typing import Any

from schemas.event import Operation

__all__ = ["EXPECTED", "NOT_REPORTED"]

OK = {"status_code": 200, "error_type": None, "aborted": False, "tokens_estimated": False}
CHAT = OK | {"operation": Operation.CHAT, "model": "tiny", "model_version": "tiny"}
TOKENS_8 = {"input_tokens": 6, "output_tokens": 8, "cached_input_tokens": 0}
LENGTH = {"finish_reasons": ("length",)}
NO_TOKENS = {"input_tokens": None, "output_tokens": None, "cached_input_tokens": None}
REFUSED = (
    CHAT | NO_TOKENS | {"stream": False, "finish_reasons": (), "ttft_s": None, "queue_s": None}
)
DEAD = {"error_type": "engine_dead", "finish_reasons": (), "input_tokens": None, "queue_s": None}

EXPECTED: dict[str, dict[str, Any]] = {
    "chat": CHAT | TOKENS_8 | LENGTH | {"stream": False, "user_id": "u-1", "plan": "pro"},
    "chat_stop": CHAT | {"finish_reasons": ("stop",), "output_tokens": 1, "tpot_s": None},
    "chat_stream": CHAT
    | TOKENS_8
    | LENGTH
    # the header names the feature; user and plan stand in the body
    | {"stream": True, "output_tokens": 12, "user_id": "u-2", "plan": "free"},
    "chat_stream_usage": CHAT | TOKENS_8 | LENGTH | {"stream": True, "request_id": "mine-1"},
    "chat_n2": CHAT | TOKENS_8 | {"output_tokens": 16, "finish_reasons": ("length", "length")},
    "chat_n2_stream": CHAT
    | TOKENS_8
    | {"output_tokens": 16, "finish_reasons": ("length", "length"), "stream": True},
    "chat_lora": CHAT
    | TOKENS_8
    | {"model": "tiny", "model_version": "tiny-lora", "lora_adapter": "tiny-lora"},
    # of a call that was named OpenAI's API has it that it "stops"
    "chat_tool": CHAT | {"stream": False, "finish_reasons": ("stop",)},
    "chat_tool_stream": CHAT | {"stream": True, "finish_reasons": ("stop",)},
    "chat_tools": CHAT | {"stream": False, "finish_reasons": ("tool_calls",)},
    "chat_tools_stream": CHAT | {"stream": True, "finish_reasons": ("tool_calls",)},
    "completion": CHAT | LENGTH | {"operation": Operation.TEXT_COMPLETION, "output_tokens": 8},
    "completion_stream": CHAT
    | LENGTH
    | {"operation": Operation.TEXT_COMPLETION, "output_tokens": 8, "stream": True},
    "completion_two_prompts": CHAT
    | {
        "operation": Operation.TEXT_COMPLETION,
        "input_tokens": 6,
        "output_tokens": 16,
        "finish_reasons": ("length", "length"),
    },
    "responses": CHAT
    | TOKENS_8
    | {"operation": Operation.RESPONSES, "finish_reasons": ("max_output_tokens",)},
    "responses_stream": CHAT
    | TOKENS_8
    | {
        "operation": Operation.RESPONSES,
        "finish_reasons": ("max_output_tokens",),
        "stream": True,
    },
    "responses_bad": REFUSED
    | {
        "operation": Operation.RESPONSES,
        "status_code": 404,
        "error_type": "not_found",
        "model": "nobody",
        "model_version": "nobody",
    },
    "messages": CHAT
    | TOKENS_8
    | {"operation": Operation.MESSAGES, "finish_reasons": ("max_tokens",)},
    "messages_stream": CHAT
    | TOKENS_8
    | {"operation": Operation.MESSAGES, "finish_reasons": ("max_tokens",), "stream": True},
    "messages_bad": REFUSED
    | {
        "operation": Operation.MESSAGES,
        "status_code": 404,
        "error_type": "not_found",
        "model": "nobody",
        "model_version": "nobody",
    },
    "unknown_model": REFUSED
    | {
        "status_code": 404,
        "error_type": "not_found",
        "model": "nobody",
        "model_version": "nobody",
    },
    "unknown_model_stream": REFUSED
    | {
        "status_code": 404,
        "error_type": "not_found",
        "model": "nobody",
        "model_version": "nobody",
        "stream": True,
    },
    "bad_json": REFUSED
    | {
        "status_code": 400,
        "error_type": "bad_request",
        "model": "unknown",
        "model_version": "unknown",
    },
    "bad_parameter": REFUSED | {"status_code": 400, "error_type": "bad_request"},
    "prompt_too_long": REFUSED
    | {
        "operation": Operation.TEXT_COMPLETION,
        "status_code": 400,
        "error_type": "bad_request",
        "stream": True,
    },
    "unauthorized": REFUSED
    | {
        "status_code": 401,
        "error_type": "unauthorized",
        "model": "unknown",
        "model_version": "unknown",
    },
    "admission_limit": REFUSED
    | {"status_code": 503, "error_type": "service_unavailable", "stream": True},
    "stream_client_gone": CHAT
    | NO_TOKENS
    | {"aborted": True, "tokens_estimated": True, "output_tokens": 3, "stream": True}
    | {"finish_reasons": (), "queue_s": None, "tpot_s": None},
    "client_gone": REFUSED | {"status_code": 499, "aborted": True},
    "client_gone_while_sending": REFUSED
    | {"status_code": 499, "aborted": True, "model": "unknown", "model_version": "unknown"},
    "server_abort_stream": CHAT
    | {"error_type": "engine_abort", "finish_reasons": ("abort",), "stream": True, "tpot_s": None},
    "engine_dies": REFUSED | {"status_code": 500, "error_type": "engine_dead"},
    "engine_dies_stream": CHAT | DEAD | {"stream": True, "tokens_estimated": True, "tpot_s": None},
    # vLLM lets its exception out of the application: the client sees a stream that breaks off
    "engine_dies_responses": CHAT
    | DEAD
    | {
        "operation": Operation.RESPONSES,
        "error_type": "runtime_error",
        "stream": True,
        "tokens_estimated": True,
    },
    # and here an error of its own converter
    "engine_dies_messages": CHAT
    | DEAD
    | {
        "operation": Operation.MESSAGES,
        "error_type": "internal_error",
        "input_tokens": 6,
        "stream": True,
        "tokens_estimated": True,
    },
    "embeddings": CHAT
    | {
        "operation": Operation.EMBEDDINGS,
        "stream": False,
        "input_tokens": 4,
        "output_tokens": 0,
        "ttft_s": None,
        "tpot_s": None,
    },
    "embeddings_bad": REFUSED
    | {
        "operation": Operation.EMBEDDINGS,
        "status_code": 404,
        "error_type": "not_found",
        "model": "nobody",
        "model_version": "nobody",
    },
}
NOT_REPORTED = {"health", "models", "tokenize"}
"""What asks nothing of the model."""
