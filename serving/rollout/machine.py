"""Decide after each look whether a rollout waits, goes on, or goes back. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Micros, Name
from serving.rollout.sequential import Evidence, Look

__all__ = ["METRICS", "STEPS", "Metric", "Outcome", "RolloutPolicy", "RolloutState", "observe"]


class Metric(StrEnum):
    """What makes a request a bad one; each is a share, so that one test serves all."""

    ERRORS = "errors"
    """It failed, or another version had to answer."""
    LATENCY = "latency"
    """It took longer than 95 % of the stable version's requests had until then."""
    QUALITY = "quality"
    """The judge scored it lower than 90 % of the stable version's until then."""
    COST = "cost"
    """It cost more than 90 % of the stable version's requests had until then."""


METRICS: Final = tuple(Metric)


class Outcome(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    DONE = "done"
    ABORTED = "aborted"


STEPS: Final = ("shadow", "5", "25", "50", "100")
"""Shadow copies first, then the canary's share in percent; at 100 the version is promoted."""


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
    """A rollout as it stands; a value, so that it can live in a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Name
    previous: Name
    step: Annotated[int, Field(ge=0, lt=len(STEPS))] = 0
    outcome: Outcome = Outcome.RUNNING
    started_at_us: Micros
    step_at_us: Micros
    looked_at_us: Micros
    step_requests: Annotated[int, Field(ge=0)] = 0
    evidence: dict[Metric, Evidence] = Field(default_factory=dict)
    reason: str = ""

    @property
    def share(self) -> str:
        """Return the step's name."""
        return STEPS[self.step]


def observe(
    state: RolloutState, looks: Mapping[Metric, Look], now_us: int, policy: RolloutPolicy
) -> RolloutState:
    """Return the rollout after a look at what came since the last one.

    Args:
        state: as it stood.
        looks: by metric; one that is unknown is left out, and is no evidence for anything.
        now_us: UTC microseconds, the end of what was looked at.
        policy: how careful it is.
    """
    if state.outcome is not Outcome.RUNNING:
        return state
    evidence = dict(state.evidence)
    for metric, look in looks.items():
        evidence[metric] = evidence.get(metric, Evidence()).after(look)
    came = max((look.canary for look in looks.values()), default=0)
    changes = {
        "looked_at_us": now_us,
        "evidence": evidence,
        "step_requests": state.step_requests + came,
    }
    state = state.model_copy(update=changes)
    worst = max(evidence, key=lambda metric: evidence[metric].log_value, default=None)
    if worst is not None and evidence[worst].log_value >= policy.threshold:
        reason = f"{worst}: {_in_words(evidence[worst])}"
        return state.model_copy(update={"outcome": Outcome.ABORTED, "reason": reason})
    suspicious = worst is not None and evidence[worst].log_value > math.log(policy.suspicion)
    if suspicious or not _step_is_over(state, now_us, policy):
        return state
    changes = {"step": state.step + 1, "step_at_us": now_us, "step_requests": 0}
    state = state.model_copy(update=changes)
    if state.step == len(STEPS) - 1:
        return state.model_copy(update={"outcome": Outcome.DONE, "reason": "no worse at any step"})
    return state


def _step_is_over(state: RolloutState, now_us: int, policy: RolloutPolicy) -> bool:
    age_s = (now_us - state.step_at_us) / 1e6
    if state.share == "shadow":
        return age_s >= policy.shadow_s
    return age_s >= policy.step_s and state.step_requests >= policy.step_requests


def _in_words(evidence: Evidence) -> str:
    canary, stable = (
        f"{bad / n:.2%} of {n}"
        for bad, n in (
            (evidence.canary_bad, evidence.canary),
            (evidence.stable_bad, evidence.stable),
        )
    )
    return f"{canary} requests were bad, of the stable version {stable}"
