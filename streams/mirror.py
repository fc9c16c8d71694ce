"""Keep a receiver that groups and silences by itself in step with every incident there is.

What fires is sent again every ``resend_s``, in batches; what resolved for five minutes more, since
such a receiver keeps nothing over a restart of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from typing import Final, Protocol, runtime_checkable

import structlog

from alerting.delivery import next_attempt_us
from alerting.delivery_failure import DELIVERY_RULE
from alerting.errors import NotifyRefused
from alerting.intent import NotificationIntent, NotifyEvent
from schemas.base import Message
from schemas.clock import Clock
from streams import metrics
from streams.trouble import Receives, TroubleWatch

__all__ = ["MirrorAgent", "Mirrors"]

log = structlog.get_logger(__name__)

_BATCH: Final = 256
_RESOLVED_US: Final = 300_000_000
_FAILING_US: Final = 60_000_000


@runtime_checkable
class Mirrors(Protocol):
    """A receiver that wants to be told of what fires again and again."""

    resend_s: float

    @property
    def name(self) -> str:
        """Return the receiver's name."""

    async def push(self, alerts: Sequence[tuple[NotificationIntent, Sequence[str]]]) -> None:
        """Tell of alerts, each with the severities under which it is to end.

        Raises:
            NotifyRetryable: it may go well later.
            NotifyRefused: one of them at least will never go well; the others were taken.
        """


class _Mirrored(Message):
    """One incident as it is to be shown, and the severities under which it was shown."""

    intent: NotificationIntent
    severities: tuple[str, ...] = ()
    shown: int = 0
    """The newest revision that was taken."""


class MirrorAgent:
    """Shows every incident to one receiver, for as long as it fires and five minutes more."""

    def __init__(self, receiver: Mirrors, table: MutableMapping[str, str], clock: Clock) -> None:
        self._receiver = receiver
        self._table = table
        self._clock = clock
        self._prefix = f"{receiver.name}:"
        self._trouble = TroubleWatch(receiver.name, table, clock)
        self._owner = False
        self._known: dict[str, _Mirrored] | None = None
        self._due_us: dict[str, int] = {}
        self._failures = 0
        self._closed_us = 0
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()

    @property
    def name(self) -> str:
        """Return the receiver's name."""
        return self._receiver.name

    def alarm(self, others: Sequence[Receives]) -> None:
        """Say which receivers are told when this one fails."""
        self._trouble.alarm(others)

    async def assigned(self, owner: bool) -> None:
        """Send from now on, or no more: the table belongs to one worker at a time."""
        async with self._sending:
            self._owner = owner
            self._known = None
            self._due_us.clear()
            self._news.set()

    def newest(self, incident_id: str) -> int:
        """Return the newest revision of an incident that was taken in; 0 without."""
        known = self._rows().get(incident_id)
        return known.intent.revision if known is not None else 0

    def take_in(self, intent: NotificationIntent) -> None:
        """Note an incident's newest state."""
        known = self._rows().get(intent.incident_id)
        if known is not None and known.intent.revision >= intent.revision:
            return
        row = _Mirrored(intent=intent) if known is None else known
        self._write(row.model_copy(update={"intent": intent}))
        self._due_us[intent.incident_id] = 0
        self._news.set()

    async def work(self) -> None:
        """Send for ever; a task beside the streams."""
        while True:
            self._news.clear()
            try:
                wait_s = await self.send_due()
            except Exception:
                log.exception("mirror_fails", notifier=self.name)
                wait_s = 10.0
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
                    await asyncio.sleep(0.05)  # what comes together is sent together
            except TimeoutError:
                continue

    async def send_due(self) -> float | None:
        """Send what is due, in batches; return the seconds until more is, if any."""
        async with self._sending:
            if not self._owner:
                return None
            now_us = self._clock()
            if self._closed_us <= now_us:
                rows = self._rows()
                due = self._due()
                for first in range(0, len(due), _BATCH):
                    if not await self._send([rows[name] for name in due[first : first + _BATCH]]):
                        break
            times = [self._due_us.get(name, 0) for name in self._rows()]
            if not times:
                return None
            return max(0.0, (max(min(times), self._closed_us) - self._clock()) / 1e6)

    def _due(self) -> list[str]:
        now_us = self._clock()
        return [name for name in self._rows() if self._due_us.get(name, 0) <= now_us]

    async def _send(self, rows: Sequence[_Mirrored]) -> bool:
        """Send one batch; tell whether the receiver can be sent more."""
        alerts = [(row.intent, self._ended(row)) for row in rows]
        try:
            await self._receiver.push(alerts)
        except NotifyRefused as error:
            if len(rows) > 1:  # find out which: the others are taken
                for row in rows:
                    if not await self._send([row]):
                        return False
                return True
            self._count("given_up", 1)
            log.error("notification_given_up", notifier=self.name, error=str(error)[:300])
            self._drop(rows[0])
            if rows[0].intent.rule != DELIVERY_RULE:
                self._trouble.failed(str(error)[:300], len(self._due()), lost=True)
            return True
        except Exception as error:  # noqa: BLE001 - a fault of ours must not lose an alert either
            self._failures += 1
            now_us = self._clock()
            self._closed_us = (
                next_attempt_us(self._failures, error, now_us, self.name) or now_us + _FAILING_US
            )
            self._count("retried", len(rows))
            said = f"{type(error).__name__}: {error}"[:300]
            self._trouble.failed(said, len(self._due()))
            log.warning("notification_retries", notifier=self.name, error=said)
            return False
        if self._failures:
            self._failures, self._closed_us = 0, 0
        for row in rows:
            self._sent(row)
        self._trouble.well(len(self._due()))
        return True

    def _sent(self, row: _Mirrored) -> None:
        now_us, intent = self._clock(), row.intent
        latest = self._rows().get(intent.incident_id)
        if latest is None:
            return
        if latest.shown < intent.revision:
            self._count("sent", 1)
            severities = dict.fromkeys((*latest.severities, intent.severity.value))
            latest = latest.model_copy(
                update={"shown": intent.revision, "severities": tuple(severities)}
            )
            self._write(latest)
        if latest.intent.revision > intent.revision:
            self._due_us[intent.incident_id] = 0
            return
        resolved = intent.event is NotifyEvent.RESOLVE
        if resolved and intent.at_us + _RESOLVED_US <= now_us:
            self._drop(latest)
            return
        self._due_us[intent.incident_id] = now_us + round(self._receiver.resend_s * 1e6)

    def _drop(self, row: _Mirrored) -> None:
        name = row.intent.incident_id
        self._rows().pop(name, None)
        self._due_us.pop(name, None)
        if self._prefix + name in self._table:
            del self._table[self._prefix + name]

    @staticmethod
    def _ended(row: _Mirrored) -> tuple[str, ...]:
        return tuple(one for one in row.severities if one != row.intent.severity)

    def _rows(self) -> dict[str, _Mirrored]:
        if self._known is None:
            self._known = {
                key.removeprefix(self._prefix): _Mirrored.model_validate_json(text)
                for key, text in list(self._table.items())
                if key.startswith(self._prefix)
            }
        return self._known

    def _write(self, row: _Mirrored) -> None:
        self._rows()[row.intent.incident_id] = row
        self._table[self._prefix + row.intent.incident_id] = row.to_json().decode()

    def _count(self, outcome: str, count: int) -> None:
        metrics.NOTIFICATIONS.labels(notifier=self.name, outcome=outcome).inc(count)
