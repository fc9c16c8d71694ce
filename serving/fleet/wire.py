"""The wire form of answers and errors, as vLLM writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from schemas.event import Operation

__all__ = ["DONE", "Frame", "error_body", "sse", "usage_of"]

DONE: Final = b"data: [DONE]\n\n"


def sse(data: bytes) -> bytes:
    """Return one server-sent event."""
    return b"data: " + data + b"\n\n"


def error_body(message: str, kind: str, code: int, param: str | None = None) -> bytes:
    """Return an error in OpenAI's shape."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def usage_of(input_tokens: int, output_tokens: int, cached_tokens: int) -> dict[str, Any]:
    """Return the usage object."""
    return {
        "prompt_tokens": input_tokens,
        "total_tokens": input_tokens + output_tokens,
        "completion_tokens": output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


@dataclass(frozen=True, slots=True)
class Frame:
    """What all pieces of one answer have in common.

    The head and tail of a piece are made once, so that a piece costs a concatenation.
    """

    operation: Operation
    answer_id: str
    created: int
    model: str

    @property
    def chat(self) -> bool:
        """Tell chat from text completion."""
        return self.operation is Operation.CHAT

    def ends(self) -> tuple[bytes, bytes]:
        """Return what stands before and after the text of a piece."""
        mark = "\x00"
        whole = sse(self._piece(mark if not self.chat else {"content": mark}, None))
        before, after = whole.split(b'"\\u0000"')
        return before, after

    def first(self) -> bytes:
        """Return the piece that opens a chat; text completions have none."""
        return sse(self._piece({"role": "assistant", "content": ""}, None)) if self.chat else b""

    def last(self, finish: str) -> bytes:
        """Return the piece that tells why the answer ended."""
        return sse(self._piece({"content": ""} if self.chat else "", finish))

    def usage(self, usage: dict[str, Any]) -> bytes:
        """Return the piece that tells the usage, for those who asked."""
        return sse(orjson.dumps({**self._head(True), "choices": [], "usage": usage}))

    def whole(self, text: str, finish: str, usage: dict[str, Any]) -> bytes:
        """Return the answer in one piece."""
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        return orjson.dumps({**self._head(False), "choices": [choice], "usage": usage})

    def _head(self, piece: bool) -> dict[str, Any]:
        kind = "text_completion"
        if self.chat:
            kind = "chat.completion.chunk" if piece else "chat.completion"
        return {
            "id": self.answer_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
        }

    def _piece(self, content: dict[str, str] | str, finish: str | None) -> bytes:
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish}
        choice["delta" if self.chat else "text"] = content
        return orjson.dumps({**self._head(True), "choices": [choice]})
