"""What Anthropic's API says, word for word as it is documented: whole messages and their events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

__all__ = ["ERROR_STATUS", "TOOLS", "error_body", "events_of", "message", "sse", "text", "tool_use"]

ERROR_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def text(said: str) -> dict[str, Any]:
    """Return a block of text."""
    return {"type": "text", "text": said, "citations": None}


def tool_use(name: str, given: Mapping[str, Any], number: int = 1) -> dict[str, Any]:
    """Return a block that calls a tool."""
    return {"type": "tool_use", "id": f"toolu_0{number}", "name": name, "input": dict(given)}


def message(*blocks: Mapping[str, Any], stop: str = "end_turn", **usage: Any) -> dict[str, Any]:
    """Return a whole answer."""
    counts = {
        "input_tokens": 25,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 15,
        "service_tier": "standard",
    }
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": counts | usage,
    }


def error_body(kind: str) -> bytes:
    """Return an error as it is told with a status, or as the data of an event."""
    told = {"type": kind, "message": f"This is {kind}."}
    return orjson.dumps({"type": "error", "error": told, "request_id": "req_01"})


def sse(*events: Mapping[str, Any]) -> bytes:
    """Return events as they travel."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), orjson.dumps(event))
        for event in events
    )


def events_of(whole: Mapping[str, Any], *, pieces: int = 7) -> list[dict[str, Any]]:
    """Return the events of which the stream of an answer consists, blocks cut every few letters."""
    usage = dict(whole["usage"])
    start = dict(whole) | {"content": [], "stop_reason": None}
    start["usage"] = usage | {"output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(whole["content"]):
        empty, deltas = _cut(block, pieces)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"]}
    told = {"output_tokens": usage["output_tokens"]}
    events.append({"type": "message_delta", "delta": delta, "usage": told})
    return [*events, {"type": "message_stop"}]


def _cut(block: Mapping[str, Any], size: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return how a block begins, and what is added to it."""
    match block["type"]:
        case "text":
            empty, key, kind, said = {"text": ""}, "text", "text_delta", block["text"]
        case "thinking":
            empty = {"thinking": "", "signature": ""}
            key, kind, said = "thinking", "thinking_delta", block["thinking"]
        case _:
            empty, key, kind = {"input": {}}, "partial_json", "input_json_delta"
            said = orjson.dumps(block["input"]).decode() if block["input"] else ""
    parts: Iterable[str] = [said[at : at + size] for at in range(0, len(said), size)]
    deltas = [{"type": kind, key: part} for part in parts]
    if block["type"] == "thinking":
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    elif block["type"] == "tool_use":
        deltas.insert(0, {"type": kind, key: ""})  # always there, and all there is without input
    return {**block, **empty}, deltas
