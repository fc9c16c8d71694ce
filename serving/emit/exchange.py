"""Follow one request from its first byte to its end: pure observation, no clock, no I/O.

The middleware tells it each ASGI message and the monotonic time at which it passed. Nothing here
may hold back or change a message, the request id that is added to both sides aside.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

import orjson

from schemas.event import Operation
from serving.emit.answer import Answer, read_body, read_piece, read_tail
from serving.emit.pace import Pace
from serving.emit.request import Asked, Sender, parse_body
from serving.emit.sse import SSEParser

__all__ = ["Exchange"]

BODY_LIMIT: Final = 1_048_576
"""Bytes of a request or an answer that are held to be parsed; of a longer answer only the end."""
_TAIL: Final = 4_096

_DONE: Final = b"[DONE]"
"""The last piece of OpenAI's chat and completion streams."""

CLIENT_GONE: Final = 499
"""The status, known from nginx, of a request whose client left before any answer."""


class Exchange:
    """One request and its answer as they pass."""

    __slots__ = (
        "_body",
        "_body_size",
        "_done",
        "_parser",
        "_request",
        "_request_size",
        "answer",
        "asked",
        "cancelled",
        "complete_at",
        "crashed",
        "disconnected_at",
        "operation",
        "pace",
        "sender",
        "started_at",
        "status",
        "streaming",
        "want_prompt",
    )

    def __init__(
        self,
        operation: Operation,
        sender: Sender,
        at: float,
        *,
        text_room: int = 0,
        want_prompt: bool = False,
    ) -> None:
        self.operation = operation
        self.sender = sender
        self.started_at = at
        self.want_prompt = want_prompt
        self.asked: Asked | None = None
        self.answer = Answer(text_room=text_room)
        self.pace = Pace()
        self.status: int | None = None
        self.streaming = False
        self.complete_at: float | None = None
        self.disconnected_at: float | None = None
        self.crashed: str | None = None
        self.cancelled = False
        self._request: list[bytes] = []
        self._request_size = 0
        self._body: list[bytes] = []
        self._body_size = 0
        self._parser: SSEParser | None = None
        self._done = False

    def received(self, message: MutableMapping[str, Any], at: float) -> None:
        """Take a message that the application has read."""
        kind = message["type"]
        if kind == "http.disconnect":
            # After the last byte every connection "disconnects".
            if self.complete_at is None and self.disconnected_at is None:
                self._left(at)
        elif kind == "http.request" and self.asked is None:
            chunk = message.get("body", b"")
            self._request_size += len(chunk)
            if self._request_size > BODY_LIMIT:
                self._request.clear()
            elif chunk:
                self._request.append(chunk)
            if not message.get("more_body", False):
                # Parsed at once so that the copy of the body does not live as long as the answer.
                body = b"".join(self._request)
                self._request.clear()
                self.asked = (
                    parse_body(self.operation, body, want_prompt=self.want_prompt)
                    if body
                    else Asked()
                )

    def sending(self, message: MutableMapping[str, Any], at: float) -> None:
        """Note what must be known before the message is passed on: status and the end."""
        kind = message["type"]
        if kind == "http.response.start":
            if self.disconnected_at is None:
                self.status = int(message["status"])
            headers = message.get("headers", ())
            self.streaming = any(
                name.lower() == b"content-type" and value.startswith(b"text/event-stream")
                for name, value in headers
            )
        elif (
            kind == "http.response.body"
            and not message.get("more_body", False)
            and self.complete_at is None
        ):
            self.complete_at = at

    def sent(self, message: MutableMapping[str, Any], at: float) -> None:
        """Read a message that has been passed on; `at` is when that began.

        Raises:
            JSONDecodeError: a piece was no JSON; the others of the message have been read.
        """
        if message["type"] != "http.response.body" or self.disconnected_at is not None:
            return
        body = message.get("body", b"")
        if not body:
            return
        if self.streaming:
            if self._parser is None:
                self._parser = SSEParser(BODY_LIMIT)
            broken: orjson.JSONDecodeError | None = None
            for data in self._parser.feed(body):
                self._done = self._done or data == _DONE
                try:
                    choice = read_piece(self.operation, data, self.answer)
                except orjson.JSONDecodeError as error:  # the pieces after it still count
                    broken = error
                    continue
                if choice is not None:
                    self.pace.produced(choice, at)
            if broken is not None:
                raise broken
        else:
            self._keep(bytes(body))

    def undeliverable(self, at: float) -> None:
        """Note that the server could not hand a message to the client."""
        if self.disconnected_at is None:
            self._left(at)

    def over(self) -> None:
        """Read what could only be read at the end: the body of an answer that is no stream."""
        if self.streaming or self.status is None or self.disconnected_at is not None:
            return
        body = b"".join(self._body)
        self._body.clear()
        numbers = self.operation in (Operation.EMBEDDINGS, Operation.OTHER)  # not worth parsing
        if self.status < 400 and (numbers or self._body_size > BODY_LIMIT):
            read_tail(body[-_TAIL:], self.answer)
            return
        read_body(self.operation, self.status, body, self.answer)

    @property
    def told_all(self) -> bool:
        """Tell whether a stream has said that it is over, well or with an error.

        Clients hang up on that, and do not wait for the end of the transfer.
        """
        return self.streaming and (self._done or self.answer.error_type is not None)

    @property
    def aborted(self) -> bool:
        """Tell whether the client left before the end."""
        return self.disconnected_at is not None

    @property
    def status_code(self) -> int:
        """Return the HTTP status that stands for how it went."""
        if self.status is not None:
            return self.status
        if self.aborted:
            return CLIENT_GONE
        return 503 if self.cancelled else 500

    @property
    def error_type(self) -> str | None:
        """Return the class of what went wrong on the server's side or with the request."""
        if self.aborted:
            return None
        if self.answer.error_type:
            return self.answer.error_type
        if self.cancelled and self.complete_at is None:
            return "cancelled"
        if self.crashed:
            return self.crashed
        if "abort" in self.answer.finish_reasons.values():
            return "engine_abort"
        if self.status is None:
            return "no_response"
        if self.status >= 400:
            return str(self.status)
        return None if self.complete_at is not None else "incomplete_response"

    def _left(self, at: float) -> None:
        """Note that the client is gone: before the end, unless the stream was over."""
        if self.told_all:
            self.complete_at = self.complete_at or at
        else:
            self.disconnected_at, self.complete_at = at, None

    def _keep(self, chunk: bytes) -> None:
        """Keep a whole answer up to the limit, and of a longer one its end."""
        self._body.append(chunk)
        self._body_size += len(chunk)
        if self._body_size > BODY_LIMIT and len(self._body) > 1:
            self._body[:] = [b"".join(self._body)[-_TAIL:]]
