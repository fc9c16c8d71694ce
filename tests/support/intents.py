"""Intents as the alert agent makes them."""

from __future__ import annotations

from typing import Any

from alerting.intent import NotificationIntent, NotifyEvent
from schemas.alert import AlertPhase, Severity
from tests.support.events import NOW_US

__all__ = ["intent_of", "series"]


def intent_of(
    incident: str = "i-1",
    revision: int = 1,
    event: NotifyEvent | None = None,
    *,
    at_s: float = 0,
    **changes: Any,
) -> NotificationIntent:
    """Return one state of an incident; revision 1 triggers it."""
    if event is None:
        event = NotifyEvent.TRIGGER if revision == 1 else NotifyEvent.UPDATE
    resolved = event is NotifyEvent.RESOLVE
    data: dict[str, Any] = {
        "schema_version": 1,
        "incident_id": incident,
        "fingerprint": f"f-{incident}",
        "dedup_key": f"tocsin-{incident}",
        "revision": revision,
        "event": event,
        "loud": event is NotifyEvent.TRIGGER,
        "severity": Severity.ERROR,
        "phase": AlertPhase.RESOLVED if resolved else AlertPhase.FIRING,
        "rule": "error-rate",
        "title": f"{incident}: 30 % of requests fail",
        "news": (f"news {revision}",),
        "labels": {"model": "m", "model_version": incident},
        "signal": "error_rate",
        "unit": "ratio",
        "value": 0.3,
        "samples": 100,
        "threshold": "> 1%",
        "over_s": 60,
        "firing_since_us": NOW_US,
        "at_us": NOW_US + round(at_s * 1e6),
        "sql": "SELECT 1",
        "runbook": "docs/alerting.md",
    }
    return NotificationIntent(**{**data, **changes})


def series(count: int, **changes: Any) -> list[NotificationIntent]:
    """Return the first intents of as many incidents."""
    return [intent_of(f"i-{number}", **changes) for number in range(count)]
