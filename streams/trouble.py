"""Deliveries that fail are themselves told, to the other receivers: once, and when it is over."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Final, Protocol

import structlog

from alerting.delivery_failure import Trouble, trouble_intent
from alerting.intent import NotificationIntent
from schemas.clock import Clock
from streams import metrics

__all__ = ["Receives", "TroubleWatch"]

log = structlog.get_logger(__name__)

_PATIENCE_US: Final = 60_000_000
"""How long a receiver may fail before the others are told."""


class Receives(Protocol):
    """The outbox of one receiver."""

    def take_in(self, intent: NotificationIntent) -> None:
        """Note a message, durably once the table's changelog is."""

    def newest(self, incident_id: str) -> int:
        """Return the newest revision taken in of an incident or group; 0 without."""


class TroubleWatch:
    """What is known of one receiver's trouble, over restarts, in a row of the outbox's table."""

    def __init__(self, receiver: str, table: MutableMapping[str, str], clock: Clock) -> None:
        self._receiver = receiver
        self._key = f"trouble:{receiver}"
        self._table = table
        self._clock = clock
        self._others: Sequence[Receives] = ()

    def alarm(self, others: Sequence[Receives]) -> None:
        """Say which receivers are told."""
        self._others = others

    def failed(self, error: str, waiting: int, *, lost: bool = False) -> None:
        """Note that a delivery failed; tell the others after a minute, or at once if it is lost.

        Args:
            error: for people.
            waiting: how many messages wait for the receiver.
            lost: the message was given up.
        """
        metrics.RECEIVER_FAILING.labels(notifier=self._receiver).set(1)
        now_us = self._clock()
        trouble = self._known() or Trouble(since_us=now_us)
        trouble = trouble.model_copy(update={"error": error, "lost": trouble.lost + lost})
        if lost or (not trouble.revision and now_us - trouble.since_us >= _PATIENCE_US):
            trouble = trouble.model_copy(update={"revision": trouble.revision + 1})
            self._tell(trouble, waiting)
        self._table[self._key] = trouble.to_json().decode()

    def well(self, waiting: int) -> None:
        """Note that the receiver takes messages; tell the others if they had heard otherwise."""
        trouble = self._known()
        if trouble is None:
            return
        metrics.RECEIVER_FAILING.labels(notifier=self._receiver).set(0)
        if trouble.revision:
            after = trouble.model_copy(update={"revision": trouble.revision + 1})
            self._tell(after, waiting, over=True)
        del self._table[self._key]

    def _tell(self, trouble: Trouble, waiting: int, *, over: bool = False) -> None:
        if not self._others and not over:
            log.error("receiver_fails_alone", notifier=self._receiver, error=trouble.error)
        intent = trouble_intent(self._receiver, trouble, waiting, self._clock(), over=over)
        for other in self._others:
            other.take_in(intent)

    def _known(self) -> Trouble | None:
        text = self._table.get(self._key)
        return Trouble.model_validate_json(text) if text else None
