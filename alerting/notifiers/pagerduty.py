"""PagerDuty through its Events API v2 (published as reference/events-v2 of its api-schema).

Trigger, acknowledge and resolve share one ``dedup_key``; an update is another trigger under that
key, which PagerDuty adds to the alert. 202 is accepted, 429, 5xx and network faults are tried
again, any other answer is final.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import httpx
from pydantic import SecretStr

from alerting.intent import NotificationIntent, NotifyEvent
from alerting.notifiers.base import Receipt, is_stale
from alerting.notifiers.post import post
from alerting.notifiers.text import (
    approval_text,
    clip,
    clock,
    figures,
    isotime,
    plan_lines,
    shares_text,
)
from schemas.alert import Severity

__all__ = ["PagerDutyNotifier", "dedup_key_of", "event_of"]

_SUMMARY: Final = 1_024
_DEDUP_KEY: Final = 255
_BODY_BYTES: Final = 512 * 1024
_DETAIL: Final = 4_000
_SQL: Final = 20_000
_SHORT: Final = 255
_ACTIONS: Final = {NotifyEvent.RESOLVE: "resolve", NotifyEvent.ACKNOWLEDGE: "acknowledge"}
_LOUDNESS: Final = tuple(Severity)


class PagerDutyNotifier:
    """Opens, updates and resolves one PagerDuty alert for each incident.

    ``least`` is the lowest severity that is sent: what nobody has to get up for stays off the
    pager. An incident that grew louder is sent from then on, and its end with it.
    """

    name = "pagerduty"

    def __init__(
        self,
        routing_key: SecretStr,
        *,
        base_url: str = "https://events.pagerduty.com",
        timeout_s: float = 10,
        least: Severity = Severity.WARNING,
        dashboard_url: str = "",
    ) -> None:
        self._routing_key = routing_key
        self._url = f"{base_url.rstrip('/')}/v2/enqueue"
        self._least = _LOUDNESS.index(least)
        self._dashboard_url = dashboard_url
        self._client = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False)

    async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
        """Enqueue the event that the intent asks for.

        Raises:
            NotifyRetryable: 429, 5xx or a network fault.
            NotifyRefused: any other answer, such as 400 for a wrong routing key.
        """
        if is_stale(intent, receipt) and receipt is not None:
            return receipt
        known = receipt is not None and "dedup_key" in receipt
        if not known and _LOUDNESS.index(intent.severity) < self._least:
            return {"revision": intent.revision, "skipped": f"{intent.severity} is not paged"}
        event = event_of(intent, self._routing_key.get_secret_value(), self._dashboard_url)
        if not known and intent.event is NotifyEvent.ACKNOWLEDGE:
            event["event_action"] = "trigger"  # nobody can acknowledge what is not there yet
        body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        await post(self._client, self.name, self._url, body, secrets=[self._routing_key])
        return {"revision": intent.revision, "dedup_key": event["dedup_key"]}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def dedup_key_of(intent: NotificationIntent) -> str:
    """Return the incident's key within PagerDuty's 255 characters."""
    key = intent.dedup_key
    if len(key) <= _DEDUP_KEY:
        return key
    return f"{key[:180]}-{hashlib.sha256(key.encode()).hexdigest()}"


def event_of(intent: NotificationIntent, routing_key: str, dashboard_url: str) -> dict[str, Any]:
    """Return the event as the Events API takes it, within its limits."""
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": _ACTIONS.get(intent.event, "trigger"),
        "dedup_key": dedup_key_of(intent),
        "payload": {
            "summary": clip(intent.title, _SUMMARY) or intent.rule,
            "source": clip(_source(intent), _SHORT),
            "severity": intent.severity.value,
            "timestamp": isotime(intent.firing_since_us),
            "component": clip(intent.labels.get("model") or "llm", _SHORT),
            "group": clip(intent.labels.get("provider") or "tocsin", _SHORT),
            "class": intent.rule,
            "custom_details": _details(intent),
        },
        "client": "Tocsin",
    }
    links = []
    if intent.runbook.startswith(("http://", "https://")):
        links.append({"href": intent.runbook, "text": "Runbook"})
    if dashboard_url:
        event["client_url"] = dashboard_url
        links.append({"href": dashboard_url, "text": "Dashboard"})
    if links:
        event["links"] = links
    if len(json.dumps(event, ensure_ascii=False).encode()) > _BODY_BYTES:
        event["payload"]["custom_details"] = {
            "description": clip(intent.description or "", _DETAIL),
            "left_out": "the details exceed what PagerDuty takes; see the dashboard",
        }
    return event


def _source(intent: NotificationIntent) -> str:
    labels = intent.labels
    names = [labels[name] for name in ("provider", "model", "model_version") if labels.get(name)]
    return "/".join(names) or "tocsin"


def _details(intent: NotificationIntent) -> dict[str, Any]:
    details: dict[str, Any] = {name: clip(text, _DETAIL) for name, text in figures(intent)}
    if intent.description is not None:
        details["description"] = clip(intent.description, _DETAIL)
    if intent.shares:
        details["carried_by"] = clip(shares_text(intent), _DETAIL)
    if intent.group is not None:
        details["worst"] = [clip(line, 500) for line in intent.group.examples]
    if intent.advice is not None:
        details["advice"] = clip(intent.advice, _DETAIL)
    if intent.news:
        details["news"] = clip("; ".join(intent.news), _DETAIL)
    details["history"] = [clip(f"{clock(note.at_us)} {note.text}", 500) for note in intent.history]
    details["next"] = [clip(line, 500) for line in plan_lines(intent)]
    if intent.approval is not None:
        details["approval"] = clip(approval_text(intent), _DETAIL)
    details["sql"] = clip(intent.sql, _SQL)
    details["runbook"] = intent.runbook
    details["incident"] = intent.incident_id
    return details
