"""Read from a request's body what the gateway has to know to route it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from schemas.event import Operation
from serving.emit.request import prompt_texts
from serving.gateway.replies import Reply, error_reply
from serving.gateway.rules import Facts

__all__ = ["Asked", "read_asked"]

_CHARS_PER_TOKEN: Final = 4
_STREAM_USAGE: Final = (Operation.CHAT, Operation.TEXT_COMPLETION)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that can be routed; ``facts`` lack plan and feature, which headers may tell."""

    operation: Operation
    body: bytes
    data: Mapping[str, Any]
    model: str
    stream: bool
    facts: Facts
    prompt_tokens: float
    """Estimated from the length of the prompt."""

    @property
    def hides_usage(self) -> bool:
        """Tell whether the client did not ask for the usage of a stream that could tell it."""
        if not self.stream or self.operation not in _STREAM_USAGE:
            return False
        options = self.data.get("stream_options")
        return not (isinstance(options, dict) and options.get("include_usage") is True)

    def body_for(self, model: str, *, ask_usage: bool) -> bytes:
        """Return the body for an upstream where the model has another name.

        Args:
            model: its name there.
            ask_usage: have a stream tell its usage.
        """
        if model == self.model and not ask_usage:
            return self.body
        data = dict(self.data)
        data["model"] = model
        if ask_usage:
            options = data.get("stream_options")
            known = options if isinstance(options, dict) else {}
            data["stream_options"] = {**known, "include_usage": True}
        return orjson.dumps(data)


def read_asked(operation: Operation, body: bytes) -> Asked | Reply:
    """Return what a body asks for, or the error that the client gets."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:  # whose text may quote the body
        return _bad("The request's body is not valid JSON.")
    if not isinstance(data, dict):
        return _bad("The request's body must be a JSON object.")
    model = data.get("model")
    if not isinstance(model, str) or not model:
        return _bad("You must provide a model parameter.", "model")
    if len(model) > 256 or not model.isprintable():
        return _bad("The name of the model is no name.", "model")
    stream = data.get("stream")
    if stream is not None and not isinstance(stream, bool):
        return _bad("stream must be true or false.", "stream")
    try:
        chars = sum(map(len, prompt_texts(operation, data))) + _token_ids(data)
    except RecursionError:  # cannot come from orjson, which has its own bound
        return _bad("The request's body is nested too deeply.")
    return Asked(
        operation=operation,
        body=body,
        data=data,
        model=model,
        stream=stream is True,
        facts=_facts(data, chars),
        prompt_tokens=chars / _CHARS_PER_TOKEN + 1,
    )


def _facts(data: Mapping[str, Any], chars: int) -> Facts:
    messages = data.get("messages")
    if not isinstance(messages, list):
        asked = data.get("input")
        messages = asked if isinstance(asked, list) else []
    limit = data.get("max_completion_tokens", data.get("max_tokens"))
    return Facts(
        prompt_chars=chars,
        messages=len(messages),
        max_tokens=limit if type(limit) is int else None,
        tools=bool(data.get("tools")),
        images=any(_has_image(message) for message in messages),
        reasoning=bool(data.get("reasoning") or data.get("reasoning_effort")),
    )


def _has_image(message: object) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") in ("image_url", "input_image", "image")
        for part in content
    )


def _token_ids(data: Mapping[str, Any]) -> int:
    """Return about how many characters a prompt of token ids stands for."""
    prompt = data.get("prompt", data.get("input"))
    if not isinstance(prompt, list):
        return 0
    ids = sum(1 for item in prompt if type(item) is int)
    ids += sum(len(item) for item in prompt if isinstance(item, list))
    return _CHARS_PER_TOKEN * ids


def _bad(message: str, param: str | None = None) -> Reply:
    return error_reply(400, "invalid_request_error", message, param=param)
