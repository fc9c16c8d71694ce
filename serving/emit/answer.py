"""Read what each of the APIs that vLLM speaks tells in its answers, whole or in pieces."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from schemas.event import Operation
from serving.emit.error_class import find_error

__all__ = ["Answer", "read_body", "read_piece", "read_tail"]

Json = Mapping[str, Any]

# The keys of a chat delta, beside its content, under which generated output comes.
_OUTPUT_KEYS: Final = ("reasoning", "reasoning_content", "tool_calls", "refusal")
_USAGE = re.compile(rb'"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]*\})*\})')


@dataclass(slots=True)
class Answer:
    """What has been learnt of an answer so far; None is unknown."""

    model: str | None = None
    finish_reasons: dict[int, str] = field(default_factory=dict)
    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None
    error_type: str | None = None
    pieces: int = 0
    """Pieces of a stream that carried output: one token each, unless the server gathers them."""
    text: list[str] = field(default_factory=list)
    text_room: int = 0
    """How many characters of the answer may still be kept; 0 unless capture is on."""
    truncated: bool = False

    def keep(self, text: object) -> None:
        """Keep a part of the answer's text, as far as there is room."""
        if not isinstance(text, str) or not text or self.truncated:
            return
        if self.text_room < len(text):
            self.truncated = True
            text = text[: self.text_room]
        self.text_room -= len(text)
        if text:
            self.text.append(text)

    def take_usage(self, usage: object) -> None:
        """Take a usage that came beside the answer."""
        _read_usage(usage, self)


def read_piece(operation: Operation, data: bytes, answer: Answer) -> int | None:
    """Take the data of one server-sent event; return the index of the choice that it adds to.

    None means that it carried no output. Text that is no JSON (`[DONE]`) is passed over.
    """
    if not data.startswith(b"{"):
        return None
    piece = orjson.loads(data)
    if ("error" in piece or piece.get("type") == "error") and _read_error(piece, answer):
        return None
    reader = _PIECES.get(operation)
    return reader(piece, answer) if reader else None


def read_body(operation: Operation, status: int, body: bytes, answer: Answer) -> None:
    """Take a whole answer that is not a stream."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        data = None
    if status >= 400:
        if not isinstance(data, dict) or not _read_error(data, answer):
            answer.error_type = str(status)
        return
    if isinstance(data, dict) and not _read_error(data, answer):
        _read_whole(operation, data, answer)


def read_tail(body: bytes, answer: Answer) -> None:
    """Take the end of an answer that is too long to parse: its usage, if that stands there."""
    if found := _USAGE.findall(body):
        try:
            _read_usage(orjson.loads(found[-1]), answer)
        except orjson.JSONDecodeError:
            return


def _read_error(data: Json, answer: Answer) -> bool:
    """Note the error that an object tells of, in any of the APIs' shapes."""
    found = find_error(data)
    answer.error_type = found or answer.error_type
    return found is not None


def _read_usage(usage: object, answer: Answer) -> None:
    """Read usage in OpenAI's two spellings and in Anthropic's, which counts cached tokens apart."""
    if not isinstance(usage, dict):
        return
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    given = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
    if "cache_read_input_tokens" in usage:
        cached = usage["cache_read_input_tokens"]
        created = _count(usage.get("cache_creation_input_tokens")) or 0
        given = None if given is None else given + (_count(cached) or 0) + created
    output = _count(usage.get("completion_tokens", usage.get("output_tokens")))
    answer.input_tokens = answer.input_tokens if given is None else given
    answer.cached_input_tokens = (
        answer.cached_input_tokens if _count(cached) is None else _count(cached)
    )
    answer.output_tokens = answer.output_tokens if output is None else output


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _finish(answer: Answer, index: object, reason: object) -> None:
    if isinstance(reason, str) and reason and type(index) is int:
        answer.finish_reasons[index] = reason[:256]


def _model(data: Json, answer: Answer) -> None:
    if answer.model is None and isinstance(name := data.get("model"), str):
        answer.model = name


def _dicts(value: object) -> list[dict[str, Any]]:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        return value  # nearly always
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _read_whole(operation: Operation, data: Json, answer: Answer) -> None:
    """Read an answer that came in one piece."""
    _model(data, answer)
    _read_usage(data.get("usage"), answer)
    if operation is Operation.RESPONSES:
        _responses_end(data, answer)
        for item in _dicts(data.get("output")):
            for part in _dicts(item.get("content")):
                answer.keep(part.get("text"))
    elif operation is Operation.MESSAGES:
        _finish(answer, 0, data.get("stop_reason"))
        for part in _dicts(data.get("content")):
            answer.keep(part.get("text"))
    else:
        for choice in _dicts(data.get("choices")):
            _finish(answer, choice.get("index", 0), choice.get("finish_reason"))
            message = choice.get("message")
            answer.keep(message.get("content") if isinstance(message, dict) else choice.get("text"))


def _chat_piece(data: Json, answer: Answer) -> int | None:
    _model(data, answer)
    if usage := data.get("usage"):
        _read_usage(usage, answer)
    produced: int | None = None
    for choice in _dicts(data.get("choices")):
        index = choice.get("index", 0)
        if reason := choice.get("finish_reason"):
            _finish(answer, index, reason)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            continue
        content = delta.get("content")
        # A first piece may bring the role alone. An empty content without a role is a token whose
        # text is not complete yet.
        if (
            content
            or ("role" not in delta and "content" in delta)
            or any(delta.get(key) for key in _OUTPUT_KEYS)
        ):
            produced = index if type(index) is int else 0
            answer.pieces += 1
            if not answer.truncated:
                answer.keep(content)
    return produced


def _completion_piece(data: Json, answer: Answer) -> int | None:
    _model(data, answer)
    if usage := data.get("usage"):
        _read_usage(usage, answer)
    produced: int | None = None
    for choice in _dicts(data.get("choices")):
        index = choice.get("index", 0)
        _finish(answer, index, choice.get("finish_reason"))
        produced = index if type(index) is int else 0
        answer.pieces += 1
        answer.keep(choice.get("text"))
    return produced


def _responses_end(response: Json, answer: Answer) -> None:
    """Read how a response ended; `incomplete` names its reason, as in `max_output_tokens`."""
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if response.get("status") in ("completed", "incomplete", "cancelled"):
        _finish(answer, 0, reason or response.get("status"))


def _responses_piece(data: Json, answer: Answer) -> int | None:
    kind = data.get("type")
    if not isinstance(kind, str):
        return None
    if kind.endswith(".delta"):
        answer.pieces += 1
        if kind == "response.output_text.delta":
            answer.keep(data.get("delta"))
        index = data.get("output_index", 0)
        return index if type(index) is int else 0
    response = data.get("response")
    if isinstance(response, dict):
        _model(response, answer)
        _read_usage(response.get("usage"), answer)
        if kind in ("response.completed", "response.incomplete"):
            _responses_end(response, answer)
        elif kind == "response.failed" and not _read_error(response, answer):
            answer.error_type = "response_failed"
    return None


def _messages_piece(data: Json, answer: Answer) -> int | None:
    kind = data.get("type")
    if kind == "message_start" and isinstance(message := data.get("message"), dict):
        _model(message, answer)
        _read_usage(message.get("usage"), answer)
        answer.output_tokens = None  # not generated yet: the 0 that stands here is no count
    elif kind == "message_delta":
        _read_usage(data.get("usage"), answer)
        delta = data.get("delta")
        _finish(answer, 0, delta.get("stop_reason") if isinstance(delta, dict) else None)
    elif kind == "content_block_delta" and isinstance(delta := data.get("delta"), dict):
        answer.pieces += 1
        answer.keep(delta.get("text"))
        return 0
    return None


_PIECES: Final[Mapping[Operation, Callable[[Json, Answer], int | None]]] = {
    Operation.CHAT: _chat_piece,
    Operation.TEXT_COMPLETION: _completion_piece,
    Operation.RESPONSES: _responses_piece,
    Operation.MESSAGES: _messages_piece,
}
