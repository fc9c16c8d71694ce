"""The names that a rule's annotations may have, so that receivers can show them beside the rest."""

from __future__ import annotations

import re
from typing import Final

from alerting.rules.labels import ALERT_LABELS

__all__ = ["check_annotation_name"]

_SHAPE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TAKEN: Final = frozenset(
    {
        "acknowledged",
        "advice",
        "alerts",
        "approval",
        "baseline",
        "carried_by",
        "dedup_key",
        "description",
        "history",
        "incident",
        "incident_id",
        "news",
        "next",
        "over",
        "plan",
        "runbook",
        "runbook_url",
        "samples",
        "since",
        "sql",
        "summary",
        "value",
        "worst",
    }
)
"""What pages say under that name already."""


def check_annotation_name(name: str) -> None:
    """Refuse a name that is none, or that a page uses already.

    Raises:
        ValueError: says what was expected.
    """
    if not _SHAPE.fullmatch(name):
        raise ValueError(f"{name!r} is no name; use lower case, digits, underscores: team")
    if name in _TAKEN or name in ALERT_LABELS:
        raise ValueError(f"{name!r} is said by every page already; use another name")
