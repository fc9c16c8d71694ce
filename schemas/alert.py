"""Transitions of alerts, as told on ``llm.alerts``."""

from __future__ import annotations

from enum import StrEnum

from schemas.base import Labels, Message, Micros, Name, SchemaVersion

__all__ = ["AlertPhase", "AlertTransition", "Severity"]


class Severity(StrEnum):
    """How loud an alert is; the names are PagerDuty's."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class AlertPhase(StrEnum):
    """Where one alert of one series stands."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    ESCALATED = "escalated"
    VERIFYING = "verifying"
    RESOLVED = "resolved"


class AlertTransition(Message):
    """One change of one alert.

    ``fingerprint`` names rule and series and is the topic's key; ``incident_id`` is new for each
    episode (from firing to resolved). ``at_us`` is event time.
    """

    schema_version: SchemaVersion
    fingerprint: Name
    incident_id: Name
    rule: Name
    labels: Labels
    severity: Severity
    from_phase: AlertPhase
    to_phase: AlertPhase
    step: str | None = None
    value: float | None = None
    samples: int = 0
    reason: str
    at_us: Micros
