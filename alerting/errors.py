"""Exceptions of alerting.

TocsinError
└── AlertingError
    ├── RulesError           a rules file is wrong; names the file, the rule, the key, the line
    ├── SignalMismatchError  a signal was given to a rule or a state that it does not belong to
    └── NotifyError          a notification did not get through
        ├── NotifyRetryable  later may go well (429, 5xx, network); says how long to wait
        └── NotifyRefused    will never go well (4xx, wrong secret, no such channel)
"""

from __future__ import annotations

from schemas.errors import TocsinError

__all__ = [
    "AlertingError",
    "NotifyError",
    "NotifyRefused",
    "NotifyRetryable",
    "RulesError",
    "SignalMismatchError",
]


class AlertingError(TocsinError):
    """The root of alerting's errors."""


class RulesError(AlertingError):
    """A rules file is wrong: one line a fault, with file, line, rule, key and what was expected."""


class SignalMismatchError(AlertingError):
    """A signal, a rule and a state do not belong together."""


class NotifyError(AlertingError):
    """A notification did not get through."""


class NotifyRetryable(NotifyError):  # noqa: N818
    """Trying again may go well; ``retry_after_s`` is what the receiver asked for, if it did."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotifyRefused(NotifyError):  # noqa: N818
    """Trying again cannot go well: the receiver refused the message, the secret or the channel."""
