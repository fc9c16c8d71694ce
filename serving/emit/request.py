"""Read from a request what its event needs to know: model, stream, who asks, and the prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.event import Operation, Route

__all__ = ["Asked", "Sender", "clean_name", "parse_body", "parse_headers", "prompt_texts"]

_NAME_LENGTH = 256
_LOOKED_AT = 4 * _NAME_LENGTH
"""Characters of a value that are looked at: cleaning one of a megabyte would hold the server up."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who asks, as the headers tell."""

    request_id: str | None = None
    feature: str | None = None
    user_id: str | None = None
    plan: str | None = None
    route: Route = Route.STABLE


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, as the body tells; None where it does not."""

    model: str | None = None
    stream: bool = False
    choices: int = 1
    """How many sequences the engine will report: choices times prompts."""
    feature: str | None = None
    user_id: str | None = None
    plan: str | None = None
    prompt: str | None = None


def clean_name(value: object) -> str | None:
    """Return `value` as a name that an event takes, or None when nothing is left of it."""
    if not isinstance(value, str):
        return None
    value = value[:_LOOKED_AT]
    if not value.isprintable():
        value = "".join(c for c in value if c.isprintable())
    return value.strip()[:_NAME_LENGTH] or None


def parse_headers(headers: Iterable[tuple[bytes, bytes]]) -> Sender:
    """Read X-Request-Id and X-Tocsin-Feature, -User, -Plan and -Route."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"x-request-id" or lowered.startswith(b"x-tocsin-"):
            found.setdefault(lowered, value[:_LOOKED_AT].decode("latin-1"))
    route = found.get(b"x-tocsin-route", "").lower()
    return Sender(
        request_id=clean_name(found.get(b"x-request-id")),
        feature=clean_name(found.get(b"x-tocsin-feature")),
        user_id=clean_name(found.get(b"x-tocsin-user")),
        plan=clean_name(found.get(b"x-tocsin-plan")),
        route=Route(route) if route in tuple(Route) else Route.STABLE,
    )


def parse_body(operation: Operation, body: bytes, *, want_prompt: bool) -> Asked:
    """Read a JSON body; whatever is missing or of the wrong type stays unknown."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Asked()
    if not isinstance(data, dict):
        return Asked()
    metadata = data.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    users = (
        data.get("user"),
        data.get("safety_identifier"),
        metadata.get("user_id"),
        metadata.get("user"),
    )
    return Asked(
        model=clean_name(data.get("model")),
        stream=data.get("stream") is True,
        choices=_positive(data.get("n")) * _prompts(operation, data),
        feature=clean_name(metadata.get("feature")),
        user_id=next((name for user in users if (name := clean_name(user))), None),
        plan=clean_name(metadata.get("plan")),
        prompt="\n".join(prompt_texts(operation, data)) if want_prompt else None,
    )


def _positive(value: object) -> int:
    return value if type(value) is int and 0 < value <= 128 else 1


def _prompts(operation: Operation, data: Mapping[str, Any]) -> int:
    """Return how many prompts a batch holds; a list of numbers is one prompt of token ids."""
    name = {Operation.TEXT_COMPLETION: "prompt", Operation.EMBEDDINGS: "input"}.get(operation)
    prompts = data.get(name) if name else None
    if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
        return len(prompts)
    return 1


def prompt_texts(operation: Operation, data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts of the prompt that are text, with the role of who said them."""
    if operation is Operation.TEXT_COMPLETION:
        yield from _strings(data.get("prompt"))
    elif operation is Operation.CHAT:
        yield from _messages(data.get("messages"))
    elif operation is Operation.MESSAGES:
        yield from (f"system: {text}" for text in _strings(data.get("system")))
        yield from _messages(data.get("messages"))
    elif operation is Operation.RESPONSES:
        yield from (f"system: {text}" for text in _strings(data.get("instructions")))
        asked = data.get("input")
        yield from _messages(asked) if isinstance(asked, list) else _strings(asked)
    else:
        yield from _strings(data.get("input"))


def _messages(messages: object) -> Iterator[str]:
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            role = message.get("role", "")
            yield from (f"{role}: {text}" for text in _strings(message.get("content")))


def _strings(content: object) -> Iterator[str]:
    """Yield the text of a string, of a list of strings, or of a list of typed parts."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                yield text
