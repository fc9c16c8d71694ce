"""Deliver notifications: one outbox a receiver, so that a dead one delays nothing and no one else.

The stream only puts intents into the outbox, which is a Faust table: they outlive this worker. A
task beside the stream delivers them, each incident's newest revision alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from pydantic import ValidationError

from alerting.delivery import next_attempt_us
from alerting.intent import NotificationIntent, NotifyEvent
from alerting.notifiers.base import Notifier
from schemas.base import Message
from schemas.clock import Clock
from schemas.topics import Topics
from streams import metrics

__all__ = ["Delivery", "NotifyAgent"]

log = structlog.get_logger(__name__)

_REMEMBERED_US: Final = 86_400_000_000
"""How long after its end an incident is remembered, against intents that come again."""


class Delivery(Message):
    """What one receiver has of one incident: a row of the outbox.

    ``revision`` is the newest one delivered or given up, ``receipt`` the receiver's handle (such as
    Slack's channel and timestamp), ``pending`` what is still to be delivered.
    """

    revision: int = 0
    receipt: dict[str, Any] | None = None
    pending: NotificationIntent | None = None
    resolved_us: int | None = None


class NotifyAgent:
    """Shows each incident's newest state to one receiver, at least once."""

    def __init__(self, notifier: Notifier, table: MutableMapping[str, str], clock: Clock) -> None:
        self._notifier = notifier
        self._table = table
        self._clock = clock
        self._prefix = f"{notifier.name}:"
        self._owner = False
        self._attempts: dict[str, int] = {}
        self._due_us: dict[str, int] = {}
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()

    @property
    def name(self) -> str:
        """Return the receiver's name."""
        return self._notifier.name

    async def assigned(self, owner: bool) -> None:
        """Deliver from now on, or no more: the outbox belongs to one worker at a time."""
        async with self._sending:
            self._owner = owner
            self._news.set()

    async def run(self, stream: Any) -> None:
        """Put ``llm.notifications`` into the outbox for ever; the Faust agent's body."""
        async for event in stream.noack().events():
            try:
                self.take_in(NotificationIntent.model_validate_json(event.value or b""))
            except ValidationError as error:
                metrics.REFUSED.labels(topic=Topics.NOTIFICATIONS.name).inc()
                log.error("intent_refused", offset=event.message.offset, error=str(error)[:500])
            event.ack()

    def take_in(self, intent: NotificationIntent) -> None:
        """Note an intent unless it, or a newer one of its incident, was taken in already."""
        key = self._prefix + intent.incident_id
        known = self._delivery(key)
        newest = known.pending.revision if known.pending else known.revision
        if newest >= intent.revision:
            self._count("repeated")
            return
        if known.pending:
            self._count("superseded")
        self._forget_ended(intent.at_us)
        self._write(key, known.model_copy(update={"pending": intent}))
        # Its own attempts, but no sooner than the receiver asked for.
        self._attempts.pop(key, None)
        self._news.set()

    async def work(self) -> None:
        """Deliver for ever; a task beside the stream."""
        while True:
            self._news.clear()
            try:
                wait_s = await self.deliver_due()
            except Exception:
                log.exception("outbox_fails", notifier=self._notifier.name)
                wait_s = 10.0
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def deliver_due(self) -> float | None:
        """Deliver what is due, the oldest first; return the seconds until more is, if any."""
        pending = [
            (delivery.pending.at_us, key)
            for key in list(self._table.keys())
            if key.startswith(self._prefix) and (delivery := self._delivery(key)).pending
        ]
        for _, key in sorted(pending):
            async with self._sending:
                if not self._owner:
                    return None
                if self._due_us.get(key, 0) <= self._clock():
                    await self._attempt(key)
        waiting = [self._due_us[key] for _, key in pending if key in self._due_us]
        return max(0.0, (min(waiting) - self._clock()) / 1e6) if waiting else None

    async def _attempt(self, key: str) -> None:
        delivery = self._delivery(key)
        intent = delivery.pending
        if intent is None:
            return
        receipt = delivery.receipt
        try:
            receipt = await self._notifier.send(intent, receipt)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not lose a page either
            attempt = self._attempts[key] = self._attempts.get(key, 0) + 1
            at_us = next_attempt_us(attempt, error, self._clock(), key)
            said = f"{type(error).__name__}: {error}"[:300]
            if at_us is not None:
                self._due_us[key] = at_us
                self._count("retried")
                log.warning("notification_retries", notifier=self._notifier.name, error=said)
                return
            self._count("given_up")
            log.error("notification_given_up", notifier=self._notifier.name, error=said)
        else:
            self._count("sent")
        self._due_us.pop(key, None)
        self._attempts.pop(key, None)
        # While it was sent, a newer one may have come.
        newest = self._delivery(key).pending
        self._write(
            key,
            Delivery(
                revision=intent.revision,
                receipt=receipt,
                pending=newest if newest and newest.revision > intent.revision else None,
                resolved_us=intent.at_us if intent.event is NotifyEvent.RESOLVE else None,
            ),
        )

    def _forget_ended(self, now_us: int) -> None:
        for key in list(self._table.keys()):
            if key.startswith(self._prefix):
                delivery = self._delivery(key)
                ended_us = delivery.resolved_us
                if not delivery.pending and ended_us and ended_us < now_us - _REMEMBERED_US:
                    del self._table[key]

    def _delivery(self, key: str) -> Delivery:
        text = self._table.get(key)
        return Delivery.model_validate_json(text) if text else Delivery()

    def _write(self, key: str, delivery: Delivery) -> None:
        self._table[key] = delivery.to_json().decode()

    def _count(self, outcome: str) -> None:
        metrics.NOTIFICATIONS.labels(notifier=self._notifier.name, outcome=outcome).inc()
