"""Alertmanager's API v2, so that a team's routes, silences and receivers go on working.

Alertmanager is told of every incident, ungrouped and unsilenced: that is its own work. What fires
is sent again and again, as Prometheus does, with an end some way ahead, so that an alert whose
sender died ends by itself; what resolved is sent for a while longer. An alert is its labels: those
of the series, ``alertname`` for the rule, and ``severity``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import httpx
from pydantic import SecretStr

from alerting.incident import format_value
from alerting.intent import NotificationIntent, NotifyEvent
from alerting.notifiers.base import Receipt, is_stale
from alerting.notifiers.post import post
from alerting.notifiers.text import approval_text, clip, isotime, plan_lines, shares_text
from schemas.clock import Clock, system_clock

__all__ = ["AlertmanagerNotifier", "alert_of"]

_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
_TEXT: Final = 4_000
_SQL: Final = 20_000


class AlertmanagerNotifier:
    """Posts alerts to one Alertmanager; ``resend_s`` is how often what fires should be sent."""

    name = "alertmanager"

    def __init__(
        self,
        url: str,
        *,
        token: SecretStr | None = None,
        resend_s: float = 60,
        timeout_s: float = 10,
        dashboard_url: str = "",
        clock: Clock = system_clock,
    ) -> None:
        self._url = f"{url.rstrip('/')}/api/v2/alerts"
        self._token = token or SecretStr("")
        self.resend_s = resend_s
        self._dashboard_url = dashboard_url
        self._clock = clock
        self._client = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False)

    async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
        """Post one alert; one that was posted under another severity is ended.

        Raises:
            NotifyRetryable: 429, 5xx or a network fault.
            NotifyRefused: any other answer.
        """
        if is_stale(intent, receipt) and receipt is not None:
            return receipt
        known = str(receipt["severity"]) if receipt is not None and "severity" in receipt else ""
        await self.push([(intent, (known,) if known and known != intent.severity else ())])
        return {"revision": intent.revision, "severity": intent.severity.value}

    async def push(self, alerts: Sequence[tuple[NotificationIntent, Sequence[str]]]) -> None:
        """Post alerts in one request, each with the severities under which it is to end.

        Raises:
            NotifyRetryable: 429, 5xx or a network fault.
            NotifyRefused: any other answer; the valid ones of a mixed request are taken.
        """
        now_us = self._clock()
        ahead_us = now_us + round(4 * self.resend_s * 1e6)
        body = [
            alert_of(intent, ends_us, severity, self._dashboard_url)
            for intent, ended in alerts
            for severity, ends_us in (
                *((severity, max(now_us, intent.firing_since_us + 1_000)) for severity in ended),
                (
                    intent.severity.value,
                    max(intent.at_us, intent.firing_since_us + 1_000)
                    if intent.event is NotifyEvent.RESOLVE
                    else ahead_us,
                ),
            )
        ]
        token = self._token.get_secret_value()
        await post(
            self._client,
            self.name,
            self._url,
            json.dumps(body, ensure_ascii=False).encode(),
            headers={"Authorization": f"Bearer {token}"} if token else None,
            secrets=[self._token],
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def alert_of(
    intent: NotificationIntent, ends_us: int, severity: str, dashboard_url: str
) -> dict[str, Any]:
    """Return an incident as Alertmanager takes an alert, ending at a time that may be ahead."""
    labels = {_LABEL.sub("_", name): value for name, value in intent.labels.items() if value}
    baseline = "" if intent.baseline is None else f", baseline {intent.baseline:.4g}"
    value = format_value(intent.value, intent.unit)
    annotations = {
        **intent.annotations,
        "summary": intent.title,
        "value": f"{intent.signal} {value} (alert {intent.threshold}){baseline}",
        "description": intent.description or "",
        "runbook_url": intent.runbook,
        "advice": intent.advice or "",
        "carried_by": shares_text(intent),
        "approval": approval_text(intent),
        "plan": "\n".join(plan_lines(intent)),
        "sql": intent.sql,
        "incident_id": intent.incident_id,
        "dedup_key": intent.dedup_key,
    }
    alert = {
        "labels": {**labels, "alertname": intent.rule, "severity": severity},
        "annotations": {
            name: clip(text, _SQL if name == "sql" else _TEXT)
            for name, text in annotations.items()
            if text
        },
        "startsAt": isotime(intent.firing_since_us),
        "endsAt": isotime(ends_us),
    }
    if dashboard_url:
        alert["generatorURL"] = dashboard_url
    return alert
