"""Prompt and answer from a span's attributes; read only where capture is switched on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

__all__ = ["output_in", "prompt_in"]

_LONGEST: Final = 4 * 1024 * 1024
"""Characters of a JSON text that are parsed."""

_PROMPT: Final = re.compile(
    r"(?:gen_ai\.prompt|llm\.input_messages)\.(\d{1,4})\.(?:message\.)?(role|content)"
)
_OUTPUT: Final = re.compile(
    r"(?:gen_ai\.completion|llm\.output_messages)\.(\d{1,4})\.(?:message\.)?(role|content)"
)


def prompt_in(attributes: Mapping[str, Any]) -> str | None:
    """Return the prompt, each message with its role, or None where the span has none."""
    system = _messages(attributes.get("gen_ai.system_instructions"), "system")
    messages = [*system, *_messages(attributes.get("gen_ai.input.messages"), "user")]
    messages = messages or _numbered(attributes, _PROMPT)
    if messages:
        return "\n".join(f"{role}: {text}" for role, text in messages)
    return _plain(attributes, "gen_ai.prompt", "input.value")


def output_in(attributes: Mapping[str, Any]) -> str | None:
    """Return the text of the answer, or None where the span has none."""
    messages = list(_messages(attributes.get("gen_ai.output.messages"), "assistant"))
    messages = messages or _numbered(attributes, _OUTPUT)
    if messages:
        return "\n".join(text for _, text in messages)
    return _plain(attributes, "gen_ai.completion", "output.value")


def _plain(attributes: Mapping[str, Any], *names: str) -> str | None:
    return next((v for n in names if isinstance(v := attributes.get(n), str) and v), None)


def _numbered(attributes: Mapping[str, Any], pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Return role and text of messages that are flattened: `gen_ai.prompt.0.content`."""
    found: dict[int, dict[str, str]] = {}
    for name, value in attributes.items():
        if isinstance(value, str) and (match := pattern.fullmatch(name)):
            found.setdefault(int(match[1]), {})[match[2]] = value
    parts = (part for _, part in sorted(found.items()))
    return [(part.get("role", "user"), part["content"]) for part in parts if "content" in part]


def _messages(value: object, role: str) -> Iterator[tuple[str, str]]:
    """Yield role and text of messages, given as JSON or as a structure."""
    if isinstance(value, str):
        if len(value) > _LONGEST:
            return
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            yield role, str(value)
            return
    for message in value if isinstance(value, list | tuple) else ():
        if not isinstance(message, Mapping):
            continue
        said = message.get("role")
        who = said if isinstance(said, str) else role
        parts = message.get("parts", message.get("content"))
        for part in parts if isinstance(parts, list | tuple) else (parts or message,):
            text = part.get("content", part.get("text")) if isinstance(part, Mapping) else part
            if isinstance(text, str):
                yield who, text
