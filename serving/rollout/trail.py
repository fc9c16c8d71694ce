"""What a rollout has seen at each look, kept short: the past of its figures. Pure."""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Micros
from serving.rollout.metric import METRICS, STEPS, Metric
from serving.rollout.sequential import Evidence

__all__ = ["TRAIL_LIMIT", "Standing", "Trail", "TrailPoint", "extended", "observed_share"]

TRAIL_LIMIT: Final = 360
"""Points that are kept: an hour of looks every 10 s as they were, longer rollouts more coarsely."""


class Standing(NamedTuple):
    """A metric's figures since the rollout began: requests, the bad among them, and the evidence.

    ``log_value`` is the logarithm of the evidence that the canary is worse.
    """

    stable: int
    stable_bad: int
    canary: int
    canary_bad: int
    log_value: float

    @classmethod
    def of(cls, evidence: Evidence) -> Standing:
        """Return what stands after a look."""
        return cls(
            evidence.stable,
            evidence.stable_bad,
            evidence.canary,
            evidence.canary_bad,
            round(evidence.log_value, 4),
        )


class TrailPoint(BaseModel):
    """One look: until when, at which step, and how each metric stood.

    A metric that this look knew nothing about is absent. Figures are sums, so that leaving a point
    out loses resolution and no request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at_us: Micros
    step: Annotated[int, Field(ge=0, lt=len(STEPS))]
    metrics: dict[Metric, Standing] = Field(default_factory=dict)


Trail = tuple[TrailPoint, ...]


def extended(trail: Trail, point: TrailPoint, limit: int = TRAIL_LIMIT) -> Trail:
    """Return a trail with one more point; every second one goes when they become too many.

    The first and the last point of each step stay.
    """
    longer = (*trail, point)
    if len(longer) <= limit:
        return longer
    last = len(longer) - 1
    return tuple(
        one
        for place, one in enumerate(longer)
        if place % 2 == 0
        or place == last
        or one.step != longer[place - 1].step
        or one.step != longer[place + 1].step
    )


def observed_share(before: TrailPoint, after: TrailPoint) -> float | None:
    """Return the canary's share of the requests between two points; None when it is unknown."""
    for metric in METRICS:
        if metric not in after.metrics:
            continue
        now = after.metrics[metric]
        then = before.metrics.get(metric) or Standing(0, 0, 0, 0, 0.0)
        canary, stable = now.canary - then.canary, now.stable - then.stable
        if metric not in before.metrics and before.metrics:
            continue  # it was not counted in between
        return canary / (canary + stable) if canary + stable > 0 else None
    return None
