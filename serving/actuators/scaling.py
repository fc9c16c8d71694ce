"""How far to scale, and when not yet: what both ways of scaling share. Pure."""

from __future__ import annotations

import math

from schemas.action import ActionRequested, ActionResult
from serving.actuators.base import Refusal

__all__ = ["decide_replicas"]


def decide_replicas(
    replicas: int,
    request: ActionRequested,
    now_us: int,
    *,
    factor: float,
    most: int,
    settle_s: float,
    last: ActionResult | None,
    serves: dict[str, str],
) -> int | Refusal:
    """Return how many replicas there shall be.

    Args:
        replicas: how many are wanted now.
        request: must be about what the replicas serve.
        now_us: UTC microseconds.
        factor: by which they grow, by one at least.
        most: no more than these.
        settle_s: how long a scaling is given to show before another one.
        last: the latest scaling by this lever.
        serves: labels of what the replicas serve; an alert about another is refused.
    """
    named = {key: request.labels[key] for key in serves if key in request.labels}
    if not named:
        known = ", ".join(serves)
        return Refusal(reason=f"the alert has no label {known}: it does not say what is slow")
    for key, value in named.items():
        if value != serves[key]:
            return Refusal(reason=f"the alert is about {key} {value}, not {serves[key]}")
    if last is not None and (age_s := (now_us - last.at_us) / 1e6) < settle_s:
        return Refusal(
            reason=f"scaled {age_s:.0f} s ago by {last.action_id}: new replicas need "
            f"{settle_s:.0f} s to show"
        )
    if replicas <= 0:
        return Refusal(reason="there are no replicas: somebody has switched it off")
    if replicas >= most:
        return Refusal(reason=f"there are {replicas} replicas already, {most} at most")
    return min(most, max(replicas + 1, math.ceil(replicas * factor)))
