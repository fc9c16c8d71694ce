"""PagerDuty's side: one open incident for each (routing key, dedup key).

A trigger on an open incident is logged on it and pages nobody again; one after a resolve opens a
new incident. An acknowledged incident stays acknowledged. Acknowledging or resolving what is not
open is accepted and changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Incident", "IncidentStore"]

_MAX_LOG: Final = 200


@dataclass(slots=True)
class Incident:
    """One incident with its log; ``key_hint`` shows the last four characters of the routing key."""

    number: int
    dedup_key: str
    key_hint: str
    status: str
    severity: str
    summary: str
    source: str
    opened_at_us: int
    changed_at_us: int
    component: str | None = None
    group: str | None = None
    class_: str | None = None
    client: str | None = None
    client_url: str | None = None
    custom_details: dict[str, Any] = field(default_factory=dict)
    links: list[Any] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    events: int = 0

    @property
    def open(self) -> bool:
        """Tell whether it still wants somebody."""
        return self.status != "resolved"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON for the page and the tests."""
        return {name: getattr(self, name) for name in self.__slots__}


class IncidentStore:
    """Incidents in the order they opened; the oldest are dropped, resolved ones first."""

    def __init__(self, limit: int = 200) -> None:
        self.limit = limit
        self.dropped = 0
        self.ignored = 0
        self._opened = 0
        self._incidents: list[Incident] = []
        self._newest: dict[tuple[str, str], Incident] = {}

    def all(self) -> list[Incident]:
        """Return every incident kept, oldest first."""
        return list(self._incidents)

    def take(self, event: Mapping[str, Any], now_us: int) -> tuple[str, Incident | None]:
        """Apply a valid event; return its dedup key and the incident it changed, if any."""
        routing_key = str(event["routing_key"])
        dedup_key = str(event.get("dedup_key") or "") or self._made_up_key(routing_key, now_us)
        incident = self._newest.get((routing_key, dedup_key))
        action = event["event_action"]
        if incident is not None and not incident.open:
            incident = None
        if action == "trigger":
            if incident is None:
                incident = self._open(routing_key, dedup_key, event, now_us)
            _refresh(incident, event)
        elif incident is None:
            self.ignored += 1
            return dedup_key, None
        elif action == "resolve":
            incident.status = "resolved"
        else:
            incident.status = "acknowledged"
        incident.changed_at_us = now_us
        incident.events += 1
        summary = event.get("payload", {}).get("summary") if action == "trigger" else None
        incident.log.append(
            {"at_us": now_us, "action": action, "status": incident.status, "summary": summary}
        )
        del incident.log[:-_MAX_LOG]
        return dedup_key, incident

    def _open(
        self, routing_key: str, dedup_key: str, event: Mapping[str, Any], now_us: int
    ) -> Incident:
        self._opened += 1
        incident = Incident(
            number=self._opened,
            dedup_key=dedup_key,
            key_hint=routing_key[-4:],
            status="triggered",
            severity=event["payload"]["severity"],
            summary=event["payload"]["summary"],
            source=event["payload"]["source"],
            opened_at_us=now_us,
            changed_at_us=now_us,
        )
        self._incidents.append(incident)
        self._newest[routing_key, dedup_key] = incident
        if len(self._incidents) > self.limit:
            oldest = next((one for one in self._incidents if not one.open), self._incidents[0])
            self._incidents.remove(oldest)
            self._newest = {k: one for k, one in self._newest.items() if one is not oldest}
            self.dropped += 1
        return incident

    def _made_up_key(self, routing_key: str, now_us: int) -> str:
        seed = f"{routing_key}/{now_us}/{self._opened}"
        return hashlib.sha256(seed.encode()).hexdigest()[:32]


def _refresh(incident: Incident, event: Mapping[str, Any]) -> None:
    """Take the newest severity and details; the title stays what the pager said first."""
    payload = event["payload"]
    incident.severity = payload["severity"]
    incident.component = payload.get("component") or incident.component
    incident.group = payload.get("group") or incident.group
    incident.class_ = payload.get("class") or incident.class_
    incident.custom_details = payload.get("custom_details") or incident.custom_details
    incident.links = event.get("links") or incident.links
    incident.client = event.get("client") or incident.client
    incident.client_url = event.get("client_url") or incident.client_url
