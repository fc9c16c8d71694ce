"""From incidents to messages: groups, silences, inhibition, acknowledgements; for all receivers.

Incidents come on ``llm.notifications``, what people ask on ``llm.commands``. The decisions are pure
(``alerting.grouping``, ``alerting.silence``, ``alerting.inhibit``); here are their state and their
order. State and outboxes are rows of one table: its changelog keeps the order of writes, so a group
is never known as told of by a worker that does not have its message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Final

import structlog
from pydantic import ValidationError

from alerting.dedup import NotifyReason
from alerting.group_page import compose_group
from alerting.grouping import STORM, Group, Member, flush, group_key, new_group, schedule
from alerting.inhibit import Inhibition
from alerting.intent import NotificationIntent, NotifyEvent
from schemas.clock import Clock
from schemas.settings import GroupingSettings
from schemas.topics import Topics
from streams import metrics
from streams.chunk import records
from streams.notices import Notices
from streams.refused import refused
from streams.silences import Silences
from streams.trouble import Receives

__all__ = ["DispatchAgent"]

log = structlog.get_logger(__name__)

_SETTLE_S: Final = 0.05
"""How long intents gather before groups are looked at: what explains others is then known, too."""

_NOT_OVER: Final = "not over: its end was decided by a worker that died, and is taken back"

_LONGEST_US: Final = 60_000_000
_TIDY_US: Final = 600_000_000
_REMEMBERED_US: Final = 86_400_000_000


class DispatchAgent:
    """Tells every receiver about groups of incidents, as silences and acknowledgements allow.

    Args:
        outboxes: get messages, each a group's newest state.
        mirrors: get every incident as it is: a receiver that groups and silences by itself.
        inhibitions: which alerts explain which.
        on_told: hears of each incident that was told of alone, for the first time.
    """

    def __init__(
        self,
        settings: GroupingSettings,
        table: MutableMapping[str, str],
        silences: Silences,
        outboxes: Sequence[Receives],
        clock: Clock,
        *,
        mirrors: Sequence[Receives] = (),
        inhibitions: Sequence[Inhibition] = (),
        on_told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._silences = silences
        self._outboxes = outboxes
        self._mirrors = mirrors
        self._clock = clock
        self._on_told = on_told
        self.notices = Notices(table, inhibitions)
        self._owner = False
        self._news = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._tidied_us = 0
        self._looked_us = 0

    async def assigned(self, owner: bool) -> None:
        """Tell from now on, or no more: the table belongs to one worker at a time."""
        async with self._flushing:
            self._owner = owner
            self.notices.forget()
            self._silences.forget()
            self._news.set()

    def adopt(self, inhibitions: Sequence[Inhibition]) -> None:
        """Put other inhibitions in force."""
        self.notices.inhibit(inhibitions)

    async def run(self, stream: Any) -> None:
        """Take in ``llm.notifications`` for ever; the Faust agent's body."""
        async for event in stream.noack().events():
            for offset, value in records(event):
                try:
                    self.take_in(NotificationIntent.model_validate_json(value))
                except ValidationError as error:
                    refused(Topics.NOTIFICATIONS, offset, str(error))
                except Exception as error:
                    log.exception("dispatch_fails", topic=Topics.NOTIFICATIONS.name)
                    refused(Topics.NOTIFICATIONS, offset, str(error))
                metrics.RECORDS.labels(topic=Topics.NOTIFICATIONS.name).inc()
            event.ack()

    def take_in(self, intent: NotificationIntent) -> None:
        """Note an incident's newest state; it is told when its group is looked at."""
        notices, now_us = self.notices, self._clock()
        known = notices.member(intent.incident_id)
        if known is not None and known.open and intent.event is NotifyEvent.RESOLVE:
            # Whoever decides again after a crash may come to an end sooner than its predecessor
            # came to say more; an end is an end.
            newest = max(intent.revision, known.intent.revision + 1)
            intent = intent.model_copy(update={"revision": newest})
        over_us = notices.ended_us(intent.incident_id)
        over = over_us is not None and not _outlives(intent, over_us)
        if over or (known is not None and known.intent.revision >= intent.revision):
            metrics.NOTIFICATIONS.labels(notifier="all", outcome="repeated").inc()
            return
        if over_us is not None:
            intent = intent.model_copy(update={"news": (_NOT_OVER, *intent.news)})
        for mirror in self._mirrors:
            mirror.take_in(_newer(intent, mirror))
        if known is None:
            key = group_key(intent, self._settings.by)
            if notices.group(key) is None and not notices.gate.open(self._settings, now_us):
                key = STORM  # where it would come to anyway
            group = notices.group(key) or new_group(key, intent, self._settings, now_us)
            member = Member(group=key, intent=intent)
        else:
            member = known.model_copy(update={"intent": intent, "told": _heard(known, intent)})
            group = notices.group(known.group) or new_group(
                known.group, intent, self._settings, now_us
            )
        # The group first: should a crash keep the incident out of the table, it comes again.
        notices.put_group(schedule(group, intent, self._settings, now_us))
        notices.put(member)
        self._news.set()

    def wake(self) -> None:
        """Find out anew what is due, and when more is."""
        self._news.set()

    def look_at(self, which: Callable[[Group], bool]) -> None:
        """Look at groups soon: at one of many no sooner than a new one is, for more may come."""
        now_us = self._clock()
        for group in self.notices.groups():
            wait_us = 0 if group.alone else round(self._settings.wait_s * 1e6)
            if which(group) and group.next_us > now_us + wait_us:
                self.notices.put_group(group.model_copy(update={"next_us": now_us + wait_us}))
        self._news.set()

    async def work(self) -> None:
        """Look at groups for ever when they are due; a task beside the streams."""
        while True:
            self._news.clear()
            try:
                wait_s = await self.flush_due()
            except Exception:
                log.exception("dispatch_fails")
                wait_s = 1.0
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
                    await asyncio.sleep(_SETTLE_S)
            except TimeoutError:
                continue

    async def flush_due(self) -> float:
        """Tell of every group that is due; return the seconds until the next one is."""
        async with self._flushing:
            if not self._owner:
                return _LONGEST_US / 1e6
            now_us = self._clock()
            if self._silences.ended_since(self._looked_us, now_us):
                self.look_at(lambda group: group.alone)
            self._looked_us = now_us
            for group in self.notices.due(now_us):
                self._flush(group, now_us)
                await asyncio.sleep(0)
            if now_us - self._tidied_us > _TIDY_US:
                self.notices.tidy(now_us - _REMEMBERED_US)
                self._tidied_us = now_us
            coming = [self.notices.next_us(), self._silences.next_end(now_us)]
            wait_us = min(at_us - now_us for at_us in (*coming, now_us + _LONGEST_US) if at_us)
        return max(0, wait_us) / 1e6

    def _flush(self, group: Group, now_us: int) -> None:
        notices = self.notices
        members = notices.members(group.key)
        found = flush(group, members, self._muted(now_us), self._settings, now_us)
        if found.reason is NotifyReason.FIRST and not self._began(group, members):
            gate = notices.gate
            if not gate.open(self._settings, now_us):
                self._join_storm(group, now_us)
                return
            notices.gate = gate.passed(self._settings, now_us)
        if found.reason is not NotifyReason.DO_NOT:
            intent = compose_group(found, now_us)
            intent = _newer(intent, *self._outboxes)  # more than a group knows after a crash
            for outbox in self._outboxes:
                outbox.take_in(intent)
            metrics.GROUPS_TOLD.labels(reason=found.reason.value).inc()
            if found.reason is NotifyReason.FIRST and group.alone:
                self._on_told(found.tell[0].intent.incident_id)
            for member in found.kept:
                notices.put(member)
            found_group = found.group.model_copy(update={"revision": intent.revision})
        else:
            found_group = found.group
        for member in found.gone:
            notices.end(member, now_us)
        # A group of many lives on for an interval: what begins again until then belongs to it.
        if found.kept or (members and not group.alone):
            notices.put_group(found_group)
        else:
            notices.drop_group(group.key)

    def _began(self, group: Group, members: Sequence[Member]) -> bool:
        """Tell whether a group has a message, which a worker that died may not have noted in it."""
        if group.key == STORM:
            return True
        name = members[0].intent.incident_id if group.alone else group.dedup_key
        return any(box.newest(name) for box in self._outboxes)

    def _join_storm(self, group: Group, now_us: int) -> None:
        notices = self.notices
        members = list(notices.members(group.key))
        storm = notices.group(STORM) or new_group(STORM, members[0].intent, self._settings, now_us)
        notices.put_group(storm)
        for member in members:
            notices.put(member.model_copy(update={"group": STORM}))
        notices.drop_group(group.key)

    def _muted(self, now_us: int) -> Callable[[Member], bool]:
        def muted(member: Member) -> bool:
            labels = member.labels
            return (
                self._silences.muting(labels, now_us) is not None
                or self.notices.inhibitor.muted_by(labels) is not None
            )

        return muted


def _outlives(intent: NotificationIntent, over_us: int) -> bool:
    """Tell whether an incident goes on after its end was dealt with.

    A worker that dies after it has said an end, and before it has kept it, may leave that its
    successor hears an answer first and decides otherwise. What only comes again is older.
    """
    return intent.event is not NotifyEvent.RESOLVE and intent.at_us > over_us


def _newer(intent: NotificationIntent, *boxes: Receives) -> NotificationIntent:
    """Return an intent under a revision that no box has seen."""
    newest = max((box.newest(intent.incident_id) for box in boxes), default=0)
    if newest < intent.revision:
        return intent
    return intent.model_copy(update={"revision": newest + 1})


def _heard(known: Member, intent: NotificationIntent) -> int:
    """Return the newest revision told of; one that only says who acknowledged was, if that was."""
    ack = known.acknowledged
    if ack is not None and known.ack_told and intent.news == (ack.line,):
        return intent.revision
    return known.told
