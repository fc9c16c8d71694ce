"""Turn one answer of Anthropic's API into OpenAI's, whole or event by event. No I/O.

https://platform.claude.com/docs/en/build-with-claude/streaming describes the events. A stream that
tells of an error before any output gives nothing but the error, so that another upstream can still
take over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from schemas.event import Operation
from serving.emit.sse import SSEParser
from serving.gateway.anthropic.answer import to_completion, to_finish_reason, to_usage
from serving.gateway.anthropic.errors import to_error
from serving.gateway.dialect import GarbageError
from serving.gateway.replies import error_event

__all__ = ["AnthropicTranslator"]

_EVENT_LIMIT: Final = 1_048_576


class AnthropicTranslator:
    """Follows one answer.

    Args:
        wall_ns: UTC nanoseconds, for `created`.
    """

    def __init__(self, wall_ns: Callable[[], int]) -> None:
        self._created = wall_ns() // 1_000_000_000
        self._parser = SSEParser(_EVENT_LIMIT)
        self._message: Mapping[str, Any] | None = None
        self._usage: dict[str, Any] = {}
        self._begun = False
        self._calls: dict[object, int] = {}  # the number of a call by the index of its block
        self._silent: set[object] = set()  # blocks of calls without an argument so far
        self.ended = False
        self.failure: tuple[int, bytes] | None = None

    def whole(self, body: bytes) -> bytes | None:
        """Return an answer in one piece, or None when it is none."""
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        completion = to_completion(message, self._created) if isinstance(message, dict) else None
        return None if completion is None else orjson.dumps(completion)

    def refusal(self, status: int, body: bytes) -> tuple[int, bytes | None]:
        """Return status and body of an error; no body when the upstream had no words for it."""
        try:
            error = orjson.loads(body)
        except orjson.JSONDecodeError:
            error = None
        return to_error(error, status)

    def feed(self, chunk: bytes) -> bytes:
        """Return the chunks of a chat stream for what has come, if that is anything yet.

        Raises:
            GarbageError: it is no stream of Anthropic's.
        """
        out: list[bytes] = []
        for data in self._parser.feed(chunk):
            if self.ended:
                break
            try:
                event = orjson.loads(data)
            except orjson.JSONDecodeError:
                raise GarbageError from None
            if not isinstance(event, dict):
                raise GarbageError
            self._take(event, out)
        if self._parser.skipped or self._parser.oversize:
            raise GarbageError  # an event beyond every bound
        return b"".join(out)

    def _take(self, event: dict[str, Any], out: list[bytes]) -> None:
        kind = event.get("type")
        if kind == "error":
            self._fail(event, out)
        elif kind == "message_start":
            message = event.get("message")
            if not isinstance(message, dict) or self._message is not None:
                raise GarbageError
            self._message = message
            self._count(message.get("usage"))
        elif kind in ("ping", None) or not isinstance(kind, str):
            return
        elif self._message is None:
            raise GarbageError  # nothing may come before the start
        elif kind == "content_block_start":
            self._start_block(event, out)
        elif kind == "content_block_delta":
            self._add(event, out)
        elif kind == "content_block_stop":
            if (index := _index(event)) in self._silent:  # a call without arguments has `{}`
                self._silent.discard(index)
                self._call(index, "{}", out)
        elif kind == "message_delta":
            self._count(event.get("usage"))
            delta = event.get("delta")
            reason = delta.get("stop_reason") if isinstance(delta, dict) else None
            if reason is not None:
                self._say({}, out, finish=to_finish_reason(reason))
        elif kind == "message_stop":
            self._stop(out)

    def _start_block(self, event: dict[str, Any], out: list[bytes]) -> None:
        match event.get("content_block"):
            case {"type": "text", "text": str(text)} if text:
                self._say({"content": text}, out)
            case {"type": "thinking", "thinking": str(thought)} if thought:
                self._say({"reasoning_content": thought}, out)
            case {"type": "tool_use", "id": str(made), "name": str(name), **rest}:
                index = _index(event)
                self._calls[index] = number = len(self._calls)
                given = rest.get("input")
                arguments = orjson.dumps(given).decode() if given else ""
                if not arguments:
                    self._silent.add(index)
                function = {"name": name, "arguments": arguments}
                call = {"index": number, "id": made, "type": "function", "function": function}
                self._say({"tool_calls": [call]}, out)

    def _add(self, event: dict[str, Any], out: list[bytes]) -> None:
        match event.get("delta"):
            case {"type": "text_delta", "text": str(text)}:
                self._say({"content": text}, out)
            case {"type": "thinking_delta", "thinking": str(thought)}:
                self._say({"reasoning_content": thought}, out)
            case {"type": "input_json_delta", "partial_json": str(part)}:
                index = _index(event)
                if part and index in self._calls:
                    self._silent.discard(index)
                    self._call(index, part, out)

    def _call(self, index: object, arguments: str, out: list[bytes]) -> None:
        call = {"index": self._calls[index], "function": {"arguments": arguments}}
        self._say({"tool_calls": [call]}, out)

    def _say(self, delta: dict[str, Any], out: list[bytes], *, finish: str | None = None) -> None:
        if not self._begun:
            self._begun = True
            out.append(self._chunk([_choice({"role": "assistant", "content": ""}, None)]))
        out.append(self._chunk([_choice(delta, finish)]))

    def _stop(self, out: list[bytes]) -> None:
        self.ended = True
        if not self._begun:
            self._say({}, out)
        if (usage := to_usage(self._usage)) is not None:
            out.append(self._chunk([], usage=usage))
        out.append(b"data: [DONE]\n\n")

    def _fail(self, event: dict[str, Any], out: list[bytes]) -> None:
        self.ended = True
        status, body = to_error(event)
        if body is None:
            text = "The upstream failed without a reason."
            out.append(error_event(Operation.CHAT, "upstream_error", text, 502))
            self.failure = 502, out[-1][6:].partition(b"\n")[0]
            return
        self.failure = status, body
        out.append(b"data: " + body + b"\n\ndata: [DONE]\n\n")

    def _count(self, usage: object) -> None:
        """Take the newest counts; they are of the whole message so far."""
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}

    def _chunk(self, choices: list[dict[str, Any]], **more: object) -> bytes:
        message = self._message or {}
        data = {
            "id": message.get("id"),
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": message.get("model"),
            "choices": choices,
            **more,
        }
        return b"data: " + orjson.dumps(data) + b"\n\n"


def _choice(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _index(event: Mapping[str, Any]) -> object:
    index = event.get("index")
    if type(index) is not int:
        raise GarbageError
    return index
