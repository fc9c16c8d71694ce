"""Decide after each look whether a rollout waits, goes on, or goes back. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Micros, Name
from serving.rollout.metric import METRICS, STEPS, Metric
from serving.rollout.sequential import Evidence, Look
from serving.rollout.trail import Standing, Trail, TrailPoint, extended

__all__ = [
    "METRICS",
    "STEPS",
    "Metric",
    "Outcome",
    "RolloutPolicy",
    "RolloutState",
    "begun",
    "ended",
    "observe",
]


class Outcome(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    DONE = "done"
    ABORTED = "aborted"


class RolloutPolicy(BaseModel):
    """How careful a rollout is.

    At most the share ``alpha`` of rollouts without any difference is aborted. A step takes at least
    ``step_requests`` of the canary and ``step_s`` seconds, and is held for longer while the
    evidence of any metric is above ``suspicion``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    step_requests: Annotated[int, Field(ge=1)] = 1_500
    step_s: Annotated[float, Field(ge=0)] = 300
    shadow_s: Annotated[float, Field(ge=0)] = 300
    suspicion: Annotated[float, Field(ge=1)] = 5

    @property
    def threshold(self) -> float:
        """Return the logarithm of the evidence that aborts; the metrics share `alpha` equally."""
        return math.log(len(METRICS) / self.alpha)


class RolloutState(BaseModel):
    """A rollout as it stands; a value, so that it can live in a file.

    ``looked_at_us`` is the end of what was looked at, ``every_s`` the pause between two looks (None
    when nobody said), ``trouble`` why the last look could not be made, and ``trail`` what the looks
    found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Name
    previous: Name
    policy: RolloutPolicy = Field(default_factory=RolloutPolicy)
    every_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    step: Annotated[int, Field(ge=0, lt=len(STEPS))] = 0
    outcome: Outcome = Outcome.RUNNING
    started_at_us: Micros
    step_at_us: Micros
    looked_at_us: Micros
    ended_at_us: Micros | None = None
    step_requests: Annotated[int, Field(ge=0)] = 0
    evidence: dict[Metric, Evidence] = Field(default_factory=dict)
    reason: str = ""
    trouble: str = ""
    trail: Trail = ()

    @property
    def share(self) -> str:
        """Return the step's name."""
        return STEPS[self.step]


def begun(
    version: str,
    previous: str,
    now_us: int,
    policy: RolloutPolicy | None = None,
    every_s: float | None = None,
) -> RolloutState:
    """Return a rollout at its first step, in which nothing has been seen."""
    return RolloutState(
        version=version,
        previous=previous,
        policy=policy or RolloutPolicy(),
        every_s=every_s,
        started_at_us=now_us,
        step_at_us=now_us,
        looked_at_us=now_us,
        trail=(TrailPoint(at_us=now_us, step=0),),
    )


def ended(state: RolloutState, outcome: Outcome, reason: str, now_us: int) -> RolloutState:
    """Return a rollout that is over."""
    changes = {"outcome": outcome, "reason": reason, "ended_at_us": now_us, "trouble": ""}
    return state.model_copy(update=changes)


def observe(state: RolloutState, looks: Mapping[Metric, Look], now_us: int) -> RolloutState:
    """Return the rollout after a look at what came since the last one.

    Args:
        state: as it stood.
        looks: by metric; one that is unknown is left out, and is no evidence for anything.
        now_us: UTC microseconds, the end of what was looked at.
    """
    if state.outcome is not Outcome.RUNNING:
        return state
    policy = state.policy
    evidence = dict(state.evidence)
    for metric, look in looks.items():
        evidence[metric] = evidence.get(metric, Evidence()).after(look)
    came = max((look.canary for look in looks.values()), default=0)
    known = {metric: Standing.of(evidence[metric]) for metric in METRICS if metric in looks}
    changes = {
        "looked_at_us": now_us,
        "evidence": evidence,
        "step_requests": state.step_requests + came,
        "trouble": "",
        "trail": extended(state.trail, TrailPoint(at_us=now_us, step=state.step, metrics=known)),
    }
    state = state.model_copy(update=changes)
    worst = max(evidence, key=lambda metric: evidence[metric].log_value, default=None)
    if worst is not None and evidence[worst].log_value >= policy.threshold:
        reason = f"{worst}: {_in_words(evidence[worst])}"
        return ended(state, Outcome.ABORTED, reason, now_us)
    suspicious = worst is not None and evidence[worst].log_value > math.log(policy.suspicion)
    if suspicious or not _step_is_over(state, now_us):
        return state
    changes = {"step": state.step + 1, "step_at_us": now_us, "step_requests": 0}
    state = state.model_copy(update=changes)
    if state.step == len(STEPS) - 1:
        return ended(state, Outcome.DONE, "no worse at any step", now_us)
    return state


def _step_is_over(state: RolloutState, now_us: int) -> bool:
    policy = state.policy
    age_s = (now_us - state.step_at_us) / 1e6
    if state.share == "shadow":
        return age_s >= policy.shadow_s
    return age_s >= policy.step_s and state.step_requests >= policy.step_requests


def _in_words(evidence: Evidence) -> str:
    canary, stable = (
        f"{bad / n * 100:.2f} % of {n:,}"
        for bad, n in (
            (evidence.canary_bad, evidence.canary),
            (evidence.stable_bad, evidence.stable),
        )
    )
    return f"{canary} requests were bad, of the stable version {stable}"
