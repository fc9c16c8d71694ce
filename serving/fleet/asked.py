"""Read and check what a client asks of a simulated server, with vLLM's answers to what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson

from schemas.event import Operation

__all__ = ["BadRequestError", "SimRequest", "read_request"]


class BadRequestError(Exception):
    """The request cannot be answered; the text and the status are for the client."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class SimRequest:
    """What is asked; ``wanted_tokens`` is how long the model would answer, None lets it choose."""

    request_id: str
    operation: Operation
    stream: bool
    include_usage: bool
    input_tokens: int
    wanted_tokens: int | None
    max_tokens: int | None
    ignore_eos: bool


def read_request(
    operation: Operation,
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes,
    *,
    model: str,
    max_model_len: int,
) -> SimRequest:
    """Return the request in a body and its headers.

    `X-Sim-Input-Tokens` tells the length of the prompt, so that a replay need not send it, and
    `X-Sim-Output-Tokens` how long the answer is; without them the prompt is counted (4 characters
    a token) and the length is the model's to choose.

    Raises:
        BadRequestError: what vLLM would refuse.
    """
    named = {name.lower(): value.decode("latin-1") for name, value in headers}
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad(f"JSON decode error: {error}") from None
    if not isinstance(data, dict):
        raise _bad("the body must be an object")
    texts = _texts(operation, data)
    if data.get("model") not in (model, None, ""):
        raise BadRequestError(
            404, "NotFoundError", f"The model `{data['model']}` does not exist.", "model"
        )
    limit = data.get("max_completion_tokens", data.get("max_tokens"))
    if limit is not None and (type(limit) is not int or limit < 1):
        raise _bad(f"max_tokens must be at least 1, got {limit!r}.", "max_tokens")
    told = _count(named, b"x-sim-input-tokens")
    given = told if told is not None else sum(map(len, texts)) // 4 + 1
    if given + (limit or 1) > max_model_len:
        raise _bad(
            f"This model's maximum context length is {max_model_len} tokens. However, you "
            f"requested {limit or 1} output tokens and your prompt contains {given} input tokens."
        )
    options = data.get("stream_options")
    return SimRequest(
        request_id=named.get(b"x-request-id") or uuid4().hex,
        operation=operation,
        stream=data.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        input_tokens=given,
        wanted_tokens=_count(named, b"x-sim-output-tokens"),
        max_tokens=limit,
        ignore_eos=data.get("ignore_eos") is True,
    )


def _texts(operation: Operation, data: dict[str, Any]) -> list[str]:
    if operation is Operation.TEXT_COMPLETION:
        prompt = data.get("prompt")
        if not isinstance(prompt, str):
            raise _bad("prompt: a string is needed here", "prompt")
        return [prompt]
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _bad("messages: at least one message is needed", "messages")
    texts = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, str):
            raise _bad("messages: each needs content of text here", "messages")
        texts.append(content)
    return texts


def _count(headers: dict[bytes, str], name: bytes) -> int | None:
    value = headers.get(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or not 0 < int(value) <= 10_000_000:
        raise _bad(f"{name.decode()}: not a positive count: {value[:32]!r}")
    return int(value)


def _bad(message: str, param: str | None = None) -> BadRequestError:
    return BadRequestError(400, "BadRequestError", message, param)
