"""Rollouts over a real flag file, driven look by look with simulated requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from serving.flags.store import FlagStore
from serving.gateway.first_flags import with_gateway_flags
from serving.rollout.drive import step
from serving.rollout.machine import METRICS, Metric, Outcome, RolloutPolicy, RolloutState
from serving.rollout.sequential import Look
from serving.rollout.steer import Steering
from tests.support.actions import NOW_US, promoted_flags

__all__ = ["EVERY_S", "Requests", "rolled", "rollout_flags"]

EVERY_S = 10
POLICY = RolloutPolicy(step_requests=1_500, step_s=300, shadow_s=120)
SHARES = {Metric.ERRORS: 0.01, Metric.LATENCY: 0.05, Metric.QUALITY: 0.1, Metric.COST: 0.1}


def rollout_flags(path: Path) -> FlagStore:
    """Return a flag file with v2 in force, and v1 and v3 beside it, as a gateway makes it."""
    store = promoted_flags(path)
    store.update(lambda d: with_gateway_flags(d, limits=[], at_us=1))
    return store


class Requests:
    """Looks at simulated requests; ``odds`` multiplies how often a canary's are bad.

    A metric in ``missing`` is unknown from that many looks on.
    """

    def __init__(
        self,
        steering: Steering,
        odds: Mapping[Metric, float] | None = None,
        missing: Mapping[Metric, int] | None = None,
        *,
        per_s: float = 60,
        seed: int = 7,
    ) -> None:
        self._steering = steering
        self._odds = dict(odds or {})
        self._missing = dict(missing or {})
        self._per_s = per_s
        self._random = np.random.default_rng(seed)
        self._looks = 0

    def look(self, version: str, since_us: int, until_us: int) -> Mapping[Metric, Look]:
        state = self._steering.read()
        assert state is not None
        share = 0.0 if state.share == "shadow" else int(state.share) / 100
        count = int(self._random.poisson(self._per_s * (until_us - since_us) / 1e6))
        drawn = int(self._random.binomial(count, share))
        self._looks += 1
        found = {}
        for metric in METRICS:
            if metric in self._missing and self._looks > self._missing[metric]:
                continue
            seen = count // 10 if metric is Metric.QUALITY else count
            canary = drawn // 10 if metric is Metric.QUALITY else drawn
            rate = SHARES[metric]
            worse = min(1.0, rate * self._odds.get(metric, 1.0))
            found[metric] = Look(
                stable=seen - canary,
                stable_bad=int(self._random.binomial(seen - canary, rate)),
                canary=canary,
                canary_bad=int(self._random.binomial(canary, worse)),
            )
        return found


def rolled(
    store: FlagStore,
    *,
    version: str = "v3",
    looks: int = 10_000,
    until_step: int | None = None,
    odds: Mapping[Metric, float] | None = None,
    missing: Mapping[Metric, int] | None = None,
    policy: RolloutPolicy = POLICY,
    start_us: int = NOW_US,
    pauses: Sequence[int] = (),
    seed: int = 7,
) -> RolloutState:
    """Drive a rollout for so many looks, or until a step, or until it is over."""
    steering = Steering(store)
    requests = Requests(steering, odds, missing, seed=seed)
    state = steering.begin(version, start_us, policy, EVERY_S)
    now_us = state.looked_at_us
    for number in range(looks):
        if state.outcome is not Outcome.RUNNING or state.step == until_step:
            break
        now_us += EVERY_S * 1_000_000 * (12 if number in pauses else 1)
        state = step(state, steering, requests, now_us)
    return state
