"""Turn Anthropic's messages into OpenAI's chat completions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

__all__ = ["to_completion", "to_finish_reason", "to_usage"]

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def to_completion(message: Mapping[str, Any], created: int) -> dict[str, Any] | None:
    """Return the completion that a message stands for, or None when it is no message.

    What OpenAI's API has no place for (signatures, redacted thoughts, citations) is left out.

    Args:
        message: Anthropic's answer.
        created: UTC seconds.
    """
    content = message.get("content")
    if message.get("type") != "message" or not isinstance(content, list):
        return None
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in content:
        match block:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "thinking", "thinking": str(thought)}:
                thoughts.append(thought)
            case {"type": "tool_use", "id": str(made), "name": str(name), "input": dict(given)}:
                function = {"name": name, "arguments": orjson.dumps(given).decode()}
                calls.append({"id": made, "type": "function", "function": function})
    said: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts or not calls else None,
        "refusal": None,
    }
    if thoughts:
        said["reasoning_content"] = "".join(thoughts)
    if calls:
        said["tool_calls"] = calls
    reason = to_finish_reason(message.get("stop_reason"))
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": reason}
    return {
        "id": message.get("id"),
        "object": "chat.completion",
        "created": created,
        "model": message.get("model"),
        "choices": [choice],
        "usage": to_usage(message.get("usage")),
    }


def to_finish_reason(reason: object) -> str | None:
    """Return OpenAI's word for the end of an answer; a reason that is not known keeps its own."""
    return _FINISH.get(reason, reason) if isinstance(reason, str) else None


def to_usage(usage: object) -> dict[str, Any] | None:
    """Return OpenAI's usage, or None when it is not told in full.

    Anthropic counts the tokens read from its cache and those written to it apart; OpenAI's
    `prompt_tokens` are all of them.
    """
    if not isinstance(usage, dict):
        return None
    given, output = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    if given is None or output is None:
        return None
    read = _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    prompt = given + (read or 0) + (written or 0)
    found: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
    }
    details = {"cached_tokens": read, "cache_write_tokens": written}
    if known := {name: count for name, count in details.items() if count is not None}:
        found["prompt_tokens_details"] = known
    told = usage.get("output_tokens_details")
    thought = _count(told, "thinking_tokens") if isinstance(told, dict) else None
    if thought is not None:
        found["completion_tokens_details"] = {"reasoning_tokens": thought}
    return found


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if type(value) is int and value >= 0 else None
