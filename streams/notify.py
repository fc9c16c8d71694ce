"""Deliver notifications: one agent a receiver, so that a dead one delays no other."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog
from pydantic import ValidationError

from alerting.delivery import next_attempt_us
from alerting.errors import NotifyError
from alerting.intent import NotificationIntent
from alerting.notifiers.base import Notifier
from schemas.clock import Clock
from streams import metrics

__all__ = ["NotifyAgent"]

log = structlog.get_logger(__name__)


class NotifyAgent:
    """Sends each incident's newest state to one receiver, at least once.

    ``table`` remembers for each incident the last revision delivered and the receiver's receipt
    (such as Slack's channel and timestamp), so that one incident stays one message.
    """

    def __init__(self, notifier: Notifier, table: MutableMapping[str, str], clock: Clock) -> None:
        self._notifier = notifier
        self._table = table
        self._clock = clock

    async def run(self, stream: Any) -> None:
        """Process ``llm.notifications`` for ever; the Faust agent's body."""
        async for event in stream.events():
            try:
                intent = NotificationIntent.model_validate_json(event.value or b"")
            except ValidationError as error:
                log.error("intent_refused", offset=event.message.offset, error=str(error)[:500])
                continue
            try:
                await self.deliver(intent)
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("delivery_failed", notifier=self._notifier.name)

    async def deliver(self, intent: NotificationIntent) -> None:
        """Send an intent unless it, or a newer one of its incident, was delivered already."""
        name = self._notifier.name
        key = f"{name}:{intent.incident_id}"
        known = orjson.loads(self._table.get(key) or "{}")
        if known.get("revision", 0) >= intent.revision:
            metrics.NOTIFICATIONS.labels(notifier=name, outcome="repeated").inc()
            return
        receipt = known.get("receipt")
        attempt = 0
        while True:
            attempt += 1
            try:
                receipt = await self._notifier.send(intent, receipt)
            except NotifyError as error:
                now_us = self._clock()
                at_us = next_attempt_us(attempt, error, now_us)
                if at_us is None:
                    metrics.NOTIFICATIONS.labels(notifier=name, outcome="given_up").inc()
                    log.error("notification_given_up", notifier=name, error=str(error)[:500])
                    return
                metrics.NOTIFICATIONS.labels(notifier=name, outcome="retried").inc()
                log.warning("notification_retries", notifier=name, error=str(error)[:300])
                await asyncio.sleep((at_us - now_us) / 1e6)
                continue
            break
        metrics.NOTIFICATIONS.labels(notifier=name, outcome="sent").inc()
        self._table[key] = orjson.dumps({"revision": intent.revision, "receipt": receipt}).decode()
