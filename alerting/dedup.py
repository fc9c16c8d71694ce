"""Whether a group of alerts is to be told of now: Alertmanager's decision, with its reasons. Pure.

Alertmanager's ``notify.DedupStage`` decides likewise: from what was told last, what fires, what has
resolved, the time of repetition and now.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import StrEnum

from schemas.base import Message, Micros

__all__ = ["Entry", "NotifyReason", "reason_to_notify"]


class NotifyReason(StrEnum):
    """Why a group is told of, or not."""

    FIRST = "first"
    NEW_ALERTS = "new_alerts"
    ALL_RESOLVED = "all_resolved"
    NEW_RESOLVED = "new_resolved"
    REPEAT = "repeat"
    NEWS = "news"
    """Nothing began or ended, and there is something to say: ours, not Alertmanager's."""
    DO_NOT = "do_not"


class Entry(Message):
    """What was told of a group last: which alerts fired, which had resolved, and when."""

    firing: frozenset[str] = frozenset()
    resolved: frozenset[str] = frozenset()
    at_us: Micros


def reason_to_notify(
    entry: Entry | None,
    firing: AbstractSet[str],
    resolved: AbstractSet[str],
    repeat_us: int,
    now_us: int,
) -> NotifyReason:
    """Return why a group is to be told of now, or that it is not.

    Args:
        entry: what was told last; None when nothing was.
        firing: names of the alerts that fire and are not muted.
        resolved: names of those that have ended since they were first told.
        repeat_us: after how long what still fires says so again.
        now_us: the time of this decision.
    """
    if entry is None:
        return NotifyReason.FIRST if firing else NotifyReason.DO_NOT
    if not firing <= entry.firing:
        return NotifyReason.NEW_ALERTS
    if not firing:
        return NotifyReason.ALL_RESOLVED if entry.firing else NotifyReason.DO_NOT
    if not resolved <= entry.resolved:
        return NotifyReason.NEW_RESOLVED
    if entry.at_us < now_us - repeat_us:
        return NotifyReason.REPEAT
    return NotifyReason.DO_NOT
