"""A rollout under way."""

from __future__ import annotations

from typing import Any

from serving.rollout.machine import RolloutPolicy, RolloutState, begun

__all__ = ["running"]


def running(policy: RolloutPolicy | None = None, **changes: Any) -> RolloutState:
    """Return a rollout of v3 instead of v2 that began at the epoch."""
    return begun("v3", "v2", 0, policy, 10).model_copy(update=changes)
