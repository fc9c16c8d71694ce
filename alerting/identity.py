"""Names that follow from what they name, so that deciding twice names the same thing."""

from __future__ import annotations

import hashlib
import json

from schemas.base import Labels

__all__ = [
    "action_id_of",
    "fingerprint_in",
    "fingerprint_of",
    "incident_id_of",
    "incident_in",
    "plan_id_of",
    "undo_id_of",
]


def fingerprint_of(rule: str, labels: Labels) -> str:
    """Return the name of one rule's alert on one series: 20 hexadecimal digits."""
    text = json.dumps([rule, sorted(labels.items())], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def incident_id_of(fingerprint: str, firing_us: int) -> str:
    """Return the name of one episode: the alert and the event time at which it fired."""
    return f"{fingerprint}-{firing_us}"


def action_id_of(incident_id: str, step: str) -> str:
    """Return the name of the action that one step of one episode asks for."""
    return f"{incident_id}:{step}"


def incident_in(action_id: str) -> str:
    """Return the episode that an action's name speaks of."""
    return action_id.partition(":")[0]


def fingerprint_in(incident_id: str) -> str:
    """Return the alert that an episode's name speaks of."""
    return incident_id.rpartition("-")[0] or incident_id


def plan_id_of(action_id: str) -> str:
    """Return the name of the request that asks what an action would do."""
    return f"{action_id}:plan"


def undo_id_of(action_id: str) -> str:
    """Return the name of the request that takes an action back."""
    return f"{action_id}:undo"
