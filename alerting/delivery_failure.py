"""What others are told when a receiver takes no notifications, and when it does again. Pure."""

from __future__ import annotations

from typing import Final

from alerting.intent import NotificationIntent, NotifyEvent
from alerting.rules.duration import format_duration
from alerting.sql import alerts_since_sql
from schemas.alert import AlertPhase, Severity
from schemas.base import SCHEMA_VERSION, Message, Micros

__all__ = ["DELIVERY_RULE", "Trouble", "trouble_intent"]

DELIVERY_RULE: Final = "delivery-failed"


class Trouble(Message):
    """A receiver that takes no notifications: since when, and what was told of it.

    ``revision`` is 0 while the others have not been told.
    """

    since_us: Micros
    revision: int = 0
    lost: int = 0
    """Notifications that were given up."""
    error: str = ""


def trouble_intent(
    receiver: str, trouble: Trouble, waiting: int, now_us: int, *, over: bool = False
) -> NotificationIntent:
    """Return what to tell the other receivers; ``trouble.revision`` is that of the message.

    Args:
        receiver: which one fails.
        trouble: since when, and its last error.
        waiting: notifications that wait for it.
        now_us: the time of this decision.
        over: it takes them again.
    """
    lasted = format_duration((now_us - trouble.since_us) // 1_000_000)
    lost = f", {trouble.lost} given up" if trouble.lost else ""
    incident_id = f"delivery-{receiver}-{trouble.since_us}"
    news = f"delivers again after {lasted}{lost}" if over else f"{trouble.error}{lost}"
    return NotificationIntent(
        schema_version=SCHEMA_VERSION,
        incident_id=incident_id,
        fingerprint=f"delivery-{receiver}",
        dedup_key=f"tocsin-{incident_id}",
        revision=trouble.revision,
        event=NotifyEvent.RESOLVE
        if over
        else NotifyEvent.TRIGGER
        if trouble.revision == 1
        else NotifyEvent.UPDATE,
        loud=not over,
        severity=Severity.ERROR,
        phase=AlertPhase.RESOLVED if over else AlertPhase.FIRING,
        rule=DELIVERY_RULE,
        title=f"notifications do not reach {receiver}",
        description=f"{receiver} has taken no notification for {lasted}; {waiting} wait{lost}.",
        news=(news,),
        advice=None if over else f"Whoever relies on {receiver} hears nothing: tell them yourself.",
        labels={"receiver": receiver},
        signal="delivery",
        unit="waiting",
        value=float(waiting),
        samples=waiting,
        threshold="> 0 waiting",
        over_s=0,
        firing_since_us=trouble.since_us,
        at_us=now_us,
        sql=alerts_since_sql(trouble.since_us),
        runbook="docs/alerting.md#runbook-delivery",
    )
