"""What every notifier is: one async ``send`` that makes a receiver show an intent."""

from __future__ import annotations

from typing import Any, Protocol

from alerting.errors import NotifyRefused, NotifyRetryable
from alerting.intent import NotificationIntent

__all__ = ["Notifier", "NotifyRefused", "NotifyRetryable", "Receipt", "is_stale"]

Receipt = dict[str, Any]
"""What a notifier needs to know of an incident it has told of, as JSON; ``revision`` is in each."""


class Notifier(Protocol):
    """A receiver of notifications.

    Sending the same intent twice must do no harm: delivery is at least once. A receipt is to be
    kept for each (notifier, incident) and handed to the next ``send`` of that incident.
    """

    @property
    def name(self) -> str:
        """Return the notifier's name, the same across restarts."""

    async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
        """Make the receiver show an intent, and return the receipt to keep.

        An intent that is not newer than the receipt is skipped.

        Raises:
            NotifyRetryable: it may go well later.
            NotifyRefused: it will never go well.
        """

    async def aclose(self) -> None:
        """Close connections."""


def is_stale(intent: NotificationIntent, receipt: Receipt | None) -> bool:
    """Tell whether the receiver shows this revision, or a newer one, already."""
    return receipt is not None and int(receipt.get("revision", 0)) >= intent.revision
