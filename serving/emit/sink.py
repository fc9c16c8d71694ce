"""Where events go: a protocol with a real implementation (emitter.py) and one in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from schemas.base import Message

__all__ = ["EventSink", "MemorySink"]


class EventSink(Protocol):
    """Takes messages from a request's path: never blocks, never raises."""

    def emit(self, message: Message) -> None:
        """Take a message."""

    def emit_later(self, make: Callable[[], Message], size: int) -> None:
        """Take what makes a message, to be called away from the request's path.

        Args:
            make: called once, on any thread.
            size: about how many bytes it holds until then.
        """

    def start(self) -> None:
        """Connect, in the background."""

    def close(self, timeout_s: float) -> None:
        """Send what is waiting, for `timeout_s` seconds at most, and take no more."""


class MemorySink:
    """Keep messages in a list."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.closed = False

    def emit(self, message: Message) -> None:
        """Take a message."""
        self.messages.append(message)

    def emit_later(self, make: Callable[[], Message], size: int) -> None:  # noqa: ARG002
        """Take what makes a message."""
        self.messages.append(make())

    def start(self) -> None:
        """Do nothing."""

    def close(self, timeout_s: float) -> None:  # noqa: ARG002
        """Take no more."""
        self.closed = True
