"""Which incidents are told as one message, and when: groups, their timers, and storms. Pure.

The timers are Alertmanager's: a new group waits ``wait_s`` for more of its kind, then tells of
changes every ``interval_s``, and of what has not changed after ``repeat_s``. Beyond Alertmanager:
``by`` of ``...`` makes each incident a group that is told at once; loud news (a step of the ladder)
does not wait for the interval; the end of what was told is always told, muted or not; and new
groups beyond ``storm_after`` in ``storm_window_s`` are told together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from alerting.dedup import Entry, NotifyReason, reason_to_notify
from alerting.intent import Acknowledgement, NotificationIntent, NotifyEvent, Share
from alerting.silence import alert_labels
from schemas.base import Labels, Message, Micros, Name
from schemas.settings import GroupingSettings

__all__ = [
    "STORM",
    "Flush",
    "Group",
    "Member",
    "StormGate",
    "flush",
    "group_key",
    "new_group",
    "schedule",
]

STORM: Final = "storm"
"""The key of the group that takes what comes too fast; no group key of labels looks like it."""

_ALL: Final = ("...",)
_STORM_WAIT_US: Final = 1_000_000


class Member(Message):
    """The newest state of one incident, and how much of it was told."""

    group: Name
    intent: NotificationIntent
    told: int = 0
    """The newest revision that was told of; 0 for none."""
    acknowledged: Acknowledgement | None = None
    ack_told: bool = False
    shares: tuple[Share, ...] = ()
    shares_told: bool = False

    @property
    def name(self) -> str:
        """Return the incident's id, shortened: entries hold many."""
        return hashlib.sha256(self.intent.incident_id.encode()).hexdigest()[:12]

    @property
    def open(self) -> bool:
        """Tell whether the incident goes on."""
        return self.intent.event is not NotifyEvent.RESOLVE

    @property
    def news(self) -> bool:
        """Tell whether something about it is still to be told."""
        return (
            self.intent.revision > self.told
            or (self.acknowledged is not None and not self.ack_told)
            or (bool(self.shares) and not self.shares_told)
        )

    @property
    def labels(self) -> Labels:
        """Return what matchers and groups know of it."""
        return alert_labels(self.intent.rule, self.intent.severity.value, self.intent.labels)


class Group(Message):
    """Incidents that are told as one message, from the first one's beginning to the last one's end.

    One of many lives an interval longer: what begins again until then belongs to it.
    ``alone``: the group is that of one incident and is told at once. ``next_us``: when to look at
    it next. ``revision`` counts the messages.
    """

    key: Name
    dedup_key: Name
    alone: bool
    started_us: Micros
    next_us: Micros
    revision: int = 0
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Flush:
    """What becomes of a group when it is looked at.

    ``tell`` holds the members to tell of, those that fire unmuted and those whose end is told;
    empty when ``reason`` is ``do_not``. ``kept`` are the members that stay, ``gone`` the ended.
    """

    reason: NotifyReason
    group: Group
    kept: tuple[Member, ...]
    gone: tuple[Member, ...]
    tell: tuple[Member, ...] = ()
    event: NotifyEvent = NotifyEvent.UPDATE
    loud: bool = False
    muted: int = 0


class StormGate(Message):
    """When new messages began lately; says which one is one too many."""

    began: tuple[Micros, ...] = ()

    def open(self, settings: GroupingSettings, now_us: int) -> bool:
        """Tell whether one more group may begin a message of its own."""
        return not settings.storm_after or len(self._recent(settings, now_us)) < (
            settings.storm_after
        )

    def passed(self, settings: GroupingSettings, now_us: int) -> StormGate:
        """Return the gate that knows of one more."""
        return StormGate(began=(*self._recent(settings, now_us), now_us))

    def _recent(self, settings: GroupingSettings, now_us: int) -> tuple[int, ...]:
        since_us = now_us - round(settings.storm_window_s * 1e6)
        return tuple(at_us for at_us in self.began if at_us > since_us)


def group_key(intent: NotificationIntent, by: Sequence[str]) -> str:
    """Return the key of the group that an incident belongs to by its labels."""
    if tuple(by) == _ALL:
        return f"incident:{intent.incident_id}"
    labels = alert_labels(intent.rule, intent.severity.value, intent.labels)
    text = json.dumps([[name, labels.get(name, "")] for name in sorted(set(by))])
    return f"labels:{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def new_group(
    key: str, intent: NotificationIntent, settings: GroupingSettings, now_us: int
) -> Group:
    """Return the group that an incident begins."""
    alone = key.startswith("incident:")
    wait_us = round(settings.wait_s * 1e6)
    if key == STORM:
        wait_us = max(wait_us, _STORM_WAIT_US)
    elif alone or intent.firing_since_us + wait_us < now_us:  # it has waited long enough
        wait_us = 0
    digest = hashlib.sha256(f"{key}:{now_us}".encode()).hexdigest()[:20]
    return Group(
        key=key,
        dedup_key=intent.dedup_key if alone else f"tocsin-group-{digest}",
        alone=alone,
        started_us=now_us,
        next_us=now_us + wait_us,
    )


def schedule(
    group: Group, intent: NotificationIntent, settings: GroupingSettings, now_us: int
) -> Group:
    """Return the group with the time at which it is to be looked at after an intent came.

    Loud news hurry a group of many, but no more often than it waits in the beginning; a storm
    nothing hurries.
    """
    if group.alone:
        next_us = now_us
    elif (
        intent.loud
        and intent.event is NotifyEvent.UPDATE
        and group.entry is not None
        and group.key != STORM
    ):
        next_us = max(now_us, group.entry.at_us + round(settings.wait_s * 1e6))
    else:
        return group
    return group.model_copy(update={"next_us": min(group.next_us, next_us)})


def flush(
    group: Group,
    members: Iterable[Member],
    muted: Callable[[Member], bool],
    settings: GroupingSettings,
    now_us: int,
) -> Flush:
    """Decide what is told of a group now, and return the group and members as they are then."""
    firing: list[Member] = []
    quiet: list[Member] = []  # open but muted
    ended: list[Member] = []
    unheard: list[Member] = []  # ended before anybody was told of them
    for member in members:
        if not member.open:
            (ended if member.told else unheard).append(member)
        elif muted(member):
            quiet.append(member)
        else:
            firing.append(member)
    names = {member.name for member in firing}
    over = {member.name for member in ended}
    reason = NotifyReason.DO_NOT
    if firing or ended:
        repeat_us = round(settings.repeat_s * 1e6)
        reason = reason_to_notify(group.entry, names, over, repeat_us, now_us)
    if reason is NotifyReason.REPEAT and all(member.acknowledged for member in firing):
        reason = NotifyReason.DO_NOT
    if reason is NotifyReason.DO_NOT and (
        any(member.news for member in firing) or any(member.news for member in ended)
    ):
        reason = NotifyReason.NEWS
    after = group.model_copy(update={"next_us": now_us + round(settings.interval_s * 1e6)})
    if reason is NotifyReason.DO_NOT:
        return Flush(reason, after, (*firing, *quiet), (*ended, *unheard), muted=len(quiet))
    tell = (*firing, *ended)
    after = after.model_copy(
        update={
            "revision": group.revision + 1,
            "entry": Entry(firing=frozenset(names), resolved=frozenset(over), at_us=now_us),
        }
    )
    kept = (*(_told(member) for member in firing), *quiet)
    return Flush(
        reason,
        after,
        kept,
        (*ended, *unheard),
        tell,
        _event(group, firing, quiet),
        _loud(reason, group, firing, ended),
        len(quiet),
    )


def _told(member: Member) -> Member:
    return member.model_copy(
        update={
            "told": member.intent.revision,
            "ack_told": member.acknowledged is not None,
            "shares_told": bool(member.shares),
        }
    )


def _event(group: Group, firing: list[Member], quiet: list[Member]) -> NotifyEvent:
    if group.entry is None or (firing and not group.entry.firing):  # or anew, after its end
        return NotifyEvent.TRIGGER
    if not firing:
        # What was told of and is muted now goes on: a receiver must not take it for ended.
        return NotifyEvent.UPDATE if any(member.told for member in quiet) else NotifyEvent.RESOLVE
    if all(member.acknowledged for member in firing) and any(
        not member.ack_told for member in firing
    ):
        return NotifyEvent.ACKNOWLEDGE
    return NotifyEvent.UPDATE


def _loud(reason: NotifyReason, group: Group, firing: list[Member], ended: list[Member]) -> bool:
    unseen = [member for member in firing if member.acknowledged is None]
    if reason in (NotifyReason.FIRST, NotifyReason.REPEAT):
        return bool(unseen)
    known = group.entry.firing if group.entry is not None else frozenset()
    if any(member.name not in known for member in unseen):
        return True
    fresh = [member for member in (*firing, *ended) if member.intent.revision > member.told]
    # Who looks after an incident has to be asked all the same.
    return any(
        member.intent.loud and (member.acknowledged is None or member.intent.approval is not None)
        for member in fresh
    )
