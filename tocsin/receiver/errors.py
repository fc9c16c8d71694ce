"""Exceptions of the receiver.

TocsinError
└── ReceiverError
    ├── ReceiverStartError   it cannot listen; the text names address and cause
    ├── PushRefusedError     a step or a point was refused by a running receiver
    ├── BodyTooLargeError    a request's body exceeds what the real service would take
    └── SlackError           what Slack would answer with ``{"ok": false, "error": code}``
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import TocsinError

__all__ = [
    "BodyTooLargeError",
    "PushRefusedError",
    "ReceiverError",
    "ReceiverStartError",
    "SlackError",
]


class ReceiverError(TocsinError):
    """The root of the receiver's own errors."""


class ReceiverStartError(ReceiverError):
    """The receiver cannot listen; the text names the address and the cause."""


class PushRefusedError(ReceiverError):
    """A running receiver refused a step or a point."""


class BodyTooLargeError(ReceiverError):
    """A request's body exceeds what the real service would take."""


class SlackError(ReceiverError):
    """One of Slack's error codes, with its details."""

    def __init__(self, code: str, details: Sequence[str] = ()) -> None:
        super().__init__(code)
        self.code = code
        self.details = tuple(details)
