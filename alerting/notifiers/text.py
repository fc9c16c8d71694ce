"""Pieces of text that more than one notifier writes."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import SecretStr

from alerting.incident import format_value
from alerting.intent import NotificationIntent, NotifyEvent
from alerting.rules.duration import format_duration
from alerting.text import clock, time_of

__all__ = [
    "approval_text",
    "clip",
    "clock",
    "figures",
    "headline",
    "isotime",
    "masked",
    "plan_lines",
    "shares_text",
]


def clip(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters; what was cut ends in an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def isotime(at_us: int) -> str:
    """Return a time in ISO 8601, in UTC with milliseconds."""
    return time_of(at_us).isoformat(timespec="milliseconds")


def headline(intent: NotificationIntent) -> str:
    """Return one line that says what state the incident is in and what broke, or was broken."""
    if intent.event is NotifyEvent.RESOLVE:
        return f"RESOLVED, was: {intent.title}"
    return f"{intent.severity.upper()}: {intent.title}"


def figures(intent: NotificationIntent) -> list[tuple[str, str]]:
    """Return what a page shows as pairs: value, threshold, baseline, samples, since, labels.

    The rule's own annotations come last; no name stands twice (``alerting/rules/annotation.py``).
    """
    value = format_value(intent.value, intent.unit)
    if intent.event is NotifyEvent.RESOLVE:
        value = f"last known {value}"
    pairs = [
        (intent.signal, f"{value} (alert {intent.threshold})"),
        ("over", format_duration(intent.over_s) if intent.over_s else "now"),
        ("samples", str(intent.samples)),
    ]
    if intent.baseline is not None:
        pairs.append(("baseline", f"{intent.baseline:.4g}"))
    lasted = format_duration((intent.at_us - intent.firing_since_us) / 1e6)
    day = time_of(intent.firing_since_us).strftime("%Y-%m-%d")
    pairs.append(("since", f"{day} {clock(intent.firing_since_us)} UTC ({lasted})"))
    pairs += [(name, label or "-") for name, label in sorted(intent.labels.items())]
    if intent.group is not None:
        group = intent.group
        said = f"{group.firing:,} firing, {group.resolved:,} resolved, {group.muted:,} muted"
        pairs.insert(0, ("alerts", said))
    if intent.acknowledged is not None:
        ack = intent.acknowledged
        pairs.append(("acknowledged", f"{ack.by}, {clock(ack.at_us)} UTC"))
    return pairs + [(name, text or "-") for name, text in intent.annotations.items()]


def plan_lines(intent: NotificationIntent) -> list[str]:
    """Return what the ladder will do next and when, a line each."""
    return [f"{clock(step.at_us)} or later: {step.text}" for step in intent.plan]


def approval_text(intent: NotificationIntent) -> str:
    """Return what waits for approval: what exactly, its inverse, until when, by whom and how."""
    approval = intent.approval
    if approval is None:
        return ""
    who = ", ".join(approval.approvers) or "everybody with access"
    lines = [
        f"{approval.deed} until {clock(approval.expires_us)} UTC",
        f"does: {approval.does}",
        f"taken back by: {approval.inverse}",
        f"may decide: {who}",
        f"tocsin approve {approval.action_id}",
    ]
    return "\n".join(lines)


def shares_text(intent: NotificationIntent) -> str:
    """Return which label values carry the change, a line each; empty when it is not known."""
    lines = []
    for share in intent.shares:
        line = f"{share.label}={share.value or '-'}: {share.share:.0%} of the change"
        line += f" with {share.traffic:.0%} of the requests"
        if share.before is not None or share.now is not None:
            before, now = (format_value(v, intent.unit) for v in (share.before, share.now))
            line += f" ({before} -> {now})"
        lines.append(line)
    return "\n".join(lines)


def masked(text: str, secrets: Iterable[SecretStr]) -> str:
    """Return a text without the secrets that a receiver may have sent back."""
    for secret in secrets:
        if value := secret.get_secret_value():
            text = text.replace(value, "***")
    return text
