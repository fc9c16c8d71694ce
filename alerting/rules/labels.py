"""The labels that rules may speak of."""

from __future__ import annotations

from typing import Final

__all__ = ["ALERT_LABELS", "LABELS"]

LABELS: Final = frozenset(
    {
        "provider",
        "model",
        "model_version",
        "lora_adapter",
        "server",
        "engine_index",
        "operation",
        "route",
        "feature",
        "user_id",
        "plan",
    }
)
"""The dimensions of a request, or of an engine, that a series may be made by."""

ALERT_LABELS: Final = LABELS | {"rule", "severity"}
"""What matchers on alerts see: the labels of the series, the rule's name and the severity."""
