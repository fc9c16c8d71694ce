"""Deliver notifications: one outbox a receiver, so that a dead one delays nothing and no one else.

A message goes from intent (a row of the table, which outlives this worker) over lease (an attempt
is under way, by whom and until when) to sent (what the receiver shows, and its receipt). A crash at
any point repeats the attempt under the same dedup key; the lease keeps two workers from making it
at once. A task delivers each incident's newest revision alone.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

import structlog

from alerting.delivery import next_attempt_us
from alerting.delivery_failure import DELIVERY_RULE
from alerting.errors import NotifyRetryable
from alerting.intent import NotificationIntent, NotifyEvent
from alerting.notifiers.base import Notifier
from schemas.base import Message, Micros, Name
from schemas.clock import Clock
from streams import metrics
from streams.trouble import Receives, TroubleWatch

__all__ = ["Delivery", "Lease", "NotifyAgent"]

log = structlog.get_logger(__name__)

_REMEMBERED_US: Final = 86_400_000_000
"""How long after its end an incident is remembered, against intents that come again."""

_TIDY_US: Final = 600_000_000
_CHANGELOG_S: Final = 2.0


class Lease(Message):
    """An attempt that is under way; its outcome is unknown if it is found after a crash."""

    owner: Name
    until_us: Micros


class Delivery(Message):
    """What one receiver has of one incident: a row of the outbox.

    ``revision`` is the newest one delivered or given up, ``receipt`` the receiver's handle (such as
    Slack's channel and timestamp), ``pending`` what is still to be delivered, after ``attempts``
    that failed and not before ``due_us``.
    """

    revision: int = 0
    receipt: dict[str, Any] | None = None
    pending: NotificationIntent | None = None
    attempts: int = 0
    due_us: Micros = 0
    lease: Lease | None = None
    resolved_us: int | None = None

    @property
    def newest(self) -> int:
        """Return the newest revision that was taken in."""
        return self.pending.revision if self.pending else self.revision


class NotifyAgent:
    """Shows each incident's newest state to one receiver, at least once.

    ``lease_s`` bounds one attempt; after a crash in its midst the next worker waits that long.
    ``durable`` returns once what was written to the table is in its changelog: an attempt waits for
    it, so that no worker decides anew under which key to tell what was told already.
    """

    def __init__(
        self,
        notifier: Notifier,
        table: MutableMapping[str, str],
        clock: Clock,
        *,
        lease_s: float = 20,
        durable: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._notifier = notifier
        self._table = table
        self._clock = clock
        self._lease_s = lease_s
        self._durable = durable
        self._prefix = f"{notifier.name}:"
        self._trouble = TroubleWatch(notifier.name, table, clock)
        self._worker = uuid.uuid4().hex[:12]
        self._owner = False
        self._waiting: dict[str, int] | None = None
        self._failures = 0
        self._closed_us = 0
        self._tidied_us = 0
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()

    @property
    def name(self) -> str:
        """Return the receiver's name."""
        return self._notifier.name

    def alarm(self, others: Sequence[Receives]) -> None:
        """Say which receivers are told when this one fails."""
        self._trouble.alarm(others)

    async def assigned(self, owner: bool) -> None:
        """Deliver from now on, or no more: the outbox belongs to one worker at a time."""
        async with self._sending:
            self._owner = owner
            self._waiting = None
            self._news.set()

    def newest(self, incident_id: str) -> int:
        """Return the newest revision of an incident that was taken in; 0 without."""
        return self._delivery(self._prefix + incident_id).newest

    def take_in(self, intent: NotificationIntent) -> None:
        """Note an intent unless it, or a newer one of its incident, was taken in already."""
        key = self._prefix + intent.incident_id
        known = self._delivery(key)
        if known.newest >= intent.revision:
            self._count("repeated")
            return
        if known.pending:
            self._count("superseded")
        self._tidy(intent.at_us)
        self._waiting_keys()[key] = intent.at_us
        # Its own attempts, but no sooner than the receiver asked for.
        self._write(key, known.model_copy(update={"pending": intent, "attempts": 0}))
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
        order = sorted(
            (self._delivery(key).due_us, at_us, key) for key, at_us in self._waiting_keys().items()
        )
        for _, _, key in order:
            async with self._sending:
                if not self._owner:
                    return None
                delivery = self._delivery(key)
                if max(self._ready_us(delivery), self._closed_us) <= self._clock():
                    await self._attempt(key, delivery)
        waiting = [self._ready_us(self._delivery(key)) for key in self._waiting_keys()]
        if not waiting or not self._owner:
            return None
        return max(0.0, (max(min(waiting), self._closed_us) - self._clock()) / 1e6)

    def _ready_us(self, delivery: Delivery) -> int:
        lease = delivery.lease
        held_us = lease.until_us if lease is not None and lease.owner != self._worker else 0
        return max(delivery.due_us, held_us)

    async def _attempt(self, key: str, delivery: Delivery) -> None:
        intent = delivery.pending
        if intent is None:
            self._waiting_keys().pop(key, None)
            return
        now_us = self._clock()
        until_us = now_us + round(self._lease_s * 1e6)
        lease = Lease(owner=self._worker, until_us=until_us)
        self._write(key, delivery.model_copy(update={"lease": lease}))
        await self._settle()
        try:
            try:
                async with asyncio.timeout(self._lease_s):
                    receipt = await self._notifier.send(intent, delivery.receipt)
            except TimeoutError:
                raise NotifyRetryable(f"no answer within {self._lease_s:g} s") from None
        except Exception as error:  # noqa: BLE001 - a fault of ours must not lose a page either
            self._failed(key, intent, error)
        else:
            self._count("sent")
            self._done(key, intent, receipt)
            self._well()

    async def _settle(self) -> None:
        """Wait for the changelog, but not for a broker that is away: a page is worth more."""
        if self._durable is None:
            return
        try:
            async with asyncio.timeout(_CHANGELOG_S):
                await self._durable()
        except Exception as error:  # noqa: BLE001 - whatever it is, the page goes out
            said = f"{type(error).__name__}: {error}"[:300]
            log.warning("changelog_late", notifier=self._notifier.name, error=said)

    def _failed(self, key: str, intent: NotificationIntent, error: Exception) -> None:
        now_us = self._clock()
        latest = self._delivery(key)  # while it was sent, a newer one may have come
        newer = latest.pending is not None and latest.pending.revision > intent.revision
        attempts = (0 if newer else latest.attempts) + 1
        at_us = next_attempt_us(attempts, error, now_us, key)
        said = f"{type(error).__name__}: {error}"[:300]
        if at_us is None:
            self._count("given_up")
            log.error("notification_given_up", notifier=self._notifier.name, error=said)
            self._done(key, intent, latest.receipt)
            if intent.rule != DELIVERY_RULE:  # or two that refuse would tell each other for ever
                self._trouble.failed(said, len(self._waiting_keys()), lost=True)
            return
        self._failures += 1
        # One that fails is enough to know: the others wait for it instead of failing after it.
        self._closed_us = next_attempt_us(self._failures, error, now_us, self.name) or at_us
        self._count("retried")
        log.warning("notification_retries", notifier=self._notifier.name, error=said)
        self._write(
            key,
            latest.model_copy(update={"attempts": attempts, "due_us": at_us, "lease": None}),
        )
        self._trouble.failed(said, len(self._waiting_keys()))

    def _done(self, key: str, intent: NotificationIntent, receipt: dict[str, Any] | None) -> None:
        latest = self._delivery(key).pending
        newer = latest if latest and latest.revision > intent.revision else None
        self._write(
            key,
            Delivery(
                revision=intent.revision,
                receipt=receipt,
                pending=newer,
                resolved_us=intent.at_us if intent.event is NotifyEvent.RESOLVE else None,
            ),
        )
        if newer is None:
            self._waiting_keys().pop(key, None)

    def _well(self) -> None:
        """Note that the receiver takes messages: what waits for it need not wait any longer."""
        if self._failures:
            self._failures, self._closed_us = 0, 0
            for key in self._waiting_keys():
                delivery = self._delivery(key)
                if delivery.due_us:
                    self._write(key, delivery.model_copy(update={"due_us": 0}))
        self._trouble.well(len(self._waiting_keys()))

    def _waiting_keys(self) -> dict[str, int]:
        """Return the rows that have something pending, with the time of its state."""
        if self._waiting is None:
            self._waiting = {}
            # A receiver that failed the last worker is waited for as long as it was by that one.
            self._failures = self._closed_us = 0
            for key in list(self._table.keys()):
                if not key.startswith(self._prefix):
                    continue
                delivery = self._delivery(key)
                if delivery.pending:
                    self._waiting[key] = delivery.pending.at_us
                    self._closed_us = max(self._closed_us, delivery.due_us)
                    self._failures = max(self._failures, delivery.attempts)
        return self._waiting

    def _tidy(self, now_us: int) -> None:
        if now_us - self._tidied_us < _TIDY_US:
            return
        self._tidied_us = now_us
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
