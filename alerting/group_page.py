"""What a group's message says: of one incident all; of many how many, and what they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from alerting.dedup import NotifyReason
from alerting.grouping import STORM, Flush, Member
from alerting.incident import format_value
from alerting.intent import (
    Approval,
    GroupCounts,
    LadderNote,
    NotificationIntent,
    PlannedStep,
)
from alerting.rules.duration import format_duration
from schemas.alert import AlertPhase, Severity
from schemas.base import Labels

__all__ = ["compose_group"]

_EXAMPLES: Final = 10
_LINES: Final = 10
_LOUDNESS: Final = {severity: place for place, severity in enumerate(Severity)}


def compose_group(flush: Flush, now_us: int) -> NotificationIntent:
    """Return the message of a group that is to be told of (``flush.tell`` is not empty)."""
    group, tell = flush.group, flush.tell
    alone = len(tell) == 1 and not flush.muted
    intent = _of_one(flush, tell[0], now_us) if alone else _of_many(flush, now_us)
    return intent.model_copy(
        update={
            "dedup_key": group.dedup_key,
            "incident_id": intent.incident_id if group.alone else group.dedup_key,
            "revision": group.revision,
            "event": flush.event,
            "loud": flush.loud,
        }
    )


def _of_one(flush: Flush, member: Member, now_us: int) -> NotificationIntent:
    intent = member.intent
    news = intent.news if intent.revision > member.told else ()
    ack = member.acknowledged
    if ack is not None and not member.ack_told:
        news = tuple(dict.fromkeys((*news, ack.line)))  # the alert may have said so, too
    if flush.reason is NotifyReason.REPEAT:
        news = (*news, f"still firing after {_lasted(intent, now_us)}, nobody has acknowledged it")
    if member.shares and not member.shares_told and member.told:
        share = member.shares[0]
        news = (
            *news,
            f"{share.label}={share.value or '-'} carries {share.share:.0%} of the change",
        )
    return intent.model_copy(update={"news": news, "acknowledged": ack, "shares": member.shares})


def _of_many(flush: Flush, now_us: int) -> NotificationIntent:
    firing = [member for member in flush.tell if member.open]
    ended = [member for member in flush.tell if not member.open]
    shown = sorted(firing or ended, key=_rank)
    worst = shown[0].intent
    counts = GroupCounts(
        firing=len(firing),
        resolved=len(ended),
        muted=flush.muted,
        examples=tuple(_example(member.intent) for member in shown[:_EXAMPLES]),
    )
    common = _common(shown)
    rules = Counter(member.intent.rule for member in shown)
    title = f"{_count(len(shown), 'alert')} of {_count(len(rules), 'rule')}"
    if common:
        title += " on " + ", ".join(f"{name}={value}" for name, value in sorted(common.items()))
    if len(rules) == 1:
        title = f"{worst.rule}: {title}"
    told = {member.acknowledged for member in firing}
    return worst.model_copy(
        update={
            "title": title,
            "description": _breakdown(shown, common, rules),
            "rule": worst.rule
            if len(rules) == 1
            else STORM
            if flush.group.key == STORM
            else "group",
            "phase": worst.phase if firing else AlertPhase.RESOLVED,
            "labels": common,
            "news": _news(flush, firing, ended, now_us),
            "advice": worst.advice if len(rules) == 1 else None,
            "firing_since_us": min(member.intent.firing_since_us for member in shown),
            "at_us": max(member.intent.at_us for member in shown),
            "history": tuple(
                LadderNote(at_us=member.intent.at_us, text=f"{_name(member.intent)}: {text}")
                for member in shown[:_LINES]
                for text in member.intent.news[-1:]
            ),
            "plan": tuple(
                PlannedStep(at_us=step.at_us, text=f"{_name(member.intent)}: {step.text}")
                for member in shown[:_LINES]
                for step in member.intent.plan[:1]
            ),
            "acknowledged": next(iter(told)) if len(told) == 1 else None,
            "annotations": _alike(member.intent.annotations for member in shown),
            "approval": _approval(firing),
            "shares": (),
            "group": counts,
        }
    )


def _news(
    flush: Flush, firing: Sequence[Member], ended: Sequence[Member], now_us: int
) -> tuple[str, ...]:
    fresh = [member for member in firing if not member.told]
    acks = [member for member in firing if member.acknowledged and not member.ack_told]
    texts = []
    if fresh:
        texts.append(f"{len(fresh)} began to fire, {len(firing)} fire in all")
    if ended:
        texts.append(f"{len(ended)} resolved, {len(firing)} fire still")
    if acks and acks[0].acknowledged is not None:
        texts.append(f"{len(acks)} acknowledged by {acks[0].acknowledged.by}")
    if flush.reason is NotifyReason.REPEAT:
        texts.append(f"{_count(len(firing), 'alert')} still firing")
    said = [
        f"{_name(member.intent)}: {text}"
        for member in sorted(firing, key=_rank)
        if member.told and member.intent.revision > member.told
        for text in member.intent.news
    ]
    texts += said[:_LINES]
    if len(said) > _LINES:
        texts.append(f"and {len(said) - _LINES} more")
    if flush.muted:
        texts.append(f"{flush.muted} more are muted")
    return tuple(texts) or (f"{_count(len(firing), 'alert')} firing since {now_us // 1_000_000}",)


def _rank(member: Member) -> tuple[int, int, str]:
    intent = member.intent
    return -_LOUDNESS[intent.severity], intent.firing_since_us, intent.incident_id


def _common(members: Sequence[Member]) -> Labels:
    return _alike(member.intent.labels for member in members)


def _alike(texts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return what all of them say alike."""
    first, *others = texts
    common = dict(first)
    for other in others:
        common = {name: value for name, value in common.items() if other.get(name) == value}
    return common


def _approval(firing: Sequence[Member]) -> Approval | None:
    """Return what waits for approval if it is one thing: a button must not stand for several."""
    waiting = [m.intent.approval for m in firing if m.intent.approval is not None]
    return waiting[0] if len(waiting) == 1 else None


def _breakdown(members: Sequence[Member], common: Labels, rules: Counter[str]) -> str:
    """Return by which rules and label values the alerts are spread: what they have in common."""
    lines = ["rules: " + _top(rules)]
    names = sorted({name for member in members for name in member.intent.labels} - set(common))
    for name in names:
        values = Counter(member.intent.labels.get(name, "") or "-" for member in members)
        lines.append(f"{name}: " + _top(values))
    return "\n".join(lines)


def _top(counts: Counter[str]) -> str:
    parts = [f"{value} {count}" for value, count in counts.most_common(5)]
    if len(counts) > 5:
        parts.append(f"and {len(counts) - 5} others")
    return ", ".join(parts)


def _name(intent: NotificationIntent) -> str:
    values = ", ".join(value for _, value in sorted(intent.labels.items()) if value)
    return f"{intent.rule} ({values})" if values else intent.rule


def _example(intent: NotificationIntent) -> str:
    value = format_value(intent.value, intent.unit)
    return f"{intent.severity.upper()} {_name(intent)}: {value} (alert {intent.threshold})"


def _lasted(intent: NotificationIntent, now_us: int) -> str:
    return format_duration(max(0, now_us - intent.firing_since_us) // 1_000_000)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
