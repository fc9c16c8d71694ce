"""What PagerDuty refuses in an event, and why.

Source: the published OpenAPI of Events API v2 and the limits of its documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["ACTIONS", "SEVERITIES", "event_problems"]

ACTIONS: Final = ("trigger", "acknowledge", "resolve")
SEVERITIES: Final = ("critical", "warning", "error", "info")

_KEY_LENGTH: Final = 32
_MAX_DEDUP_KEY: Final = 255
_MAX_SUMMARY: Final = 1_024


def event_problems(event: Mapping[str, Any]) -> list[str]:
    """Return the errors of PagerDuty's 400 answer; empty when the event is taken."""
    return [*_routing_key(event.get("routing_key")), *_action(event)]


def _routing_key(key: object) -> Iterator[str]:
    if not isinstance(key, str) or not key:
        yield "'routing_key' is missing or blank"
        return
    if len(key) != _KEY_LENGTH:
        yield f"Length of 'routing_key' is incorrect (should be {_KEY_LENGTH} characters)"
    if not (key.isascii() and key.isalnum()):
        yield "'routing_key' cannot contain non-alphanumeric characters."


def _action(event: Mapping[str, Any]) -> Iterator[str]:
    action = event.get("event_action")
    if not action:
        yield "'event_action' is missing or blank"
    elif action not in ACTIONS:
        yield f"'event_action' is invalid: must be one of {', '.join(ACTIONS)}"
    dedup_key = event.get("dedup_key")
    if dedup_key is not None and not isinstance(dedup_key, str):
        yield "'dedup_key' must be a string"
    elif dedup_key and len(dedup_key) > _MAX_DEDUP_KEY:
        yield f"'dedup_key' is too long (maximum is {_MAX_DEDUP_KEY} characters)"
    elif not dedup_key and action in ACTIONS[1:]:
        yield "'dedup_key' is missing or blank"
    if action == "trigger":
        yield from _payload(event.get("payload"))
        yield from _urls(event)


def _payload(payload: object) -> Iterator[str]:
    if not isinstance(payload, dict):
        yield "'payload' is missing or blank"
        return
    for name in ("summary", "source"):
        if not isinstance(payload.get(name), str) or not payload[name].strip():
            yield f"'payload.{name}' is missing or blank"
    if len(str(payload.get("summary", ""))) > _MAX_SUMMARY:
        yield f"'payload.summary' is too long (maximum is {_MAX_SUMMARY} characters)"
    if payload.get("severity") not in SEVERITIES:
        yield f"'payload.severity' is invalid: must be one of {', '.join(SEVERITIES)}"
    if "timestamp" in payload and not _is_iso_8601(payload["timestamp"]):
        yield "'payload.timestamp' is not a valid ISO 8601 timestamp"
    if not isinstance(payload.get("custom_details", {}), dict):
        yield "'payload.custom_details' must be an object"
    for name in ("component", "group", "class"):
        if not isinstance(payload.get(name, ""), str):
            yield f"'payload.{name}' must be a string"


def _urls(event: Mapping[str, Any]) -> Iterator[str]:
    for name, field, schemes in (
        ("links", "href", {"http", "https"}),
        ("images", "src", {"https"}),
    ):
        items = event.get(name) or []
        if not isinstance(items, list):
            yield f"'{name}' must be an array"
            continue
        for index, item in enumerate(items):
            url = item.get(field) if isinstance(item, dict) else None
            if not isinstance(url, str) or urlsplit(url).scheme not in schemes:
                yield f"'{name}[{index}].{field}' is not a valid URL"


def _is_iso_8601(value: object) -> bool:
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        return False
    return True
