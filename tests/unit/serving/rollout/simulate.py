"""Rollouts of simulated traffic, looked at every few seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.rollout.machine import Metric, Outcome, RolloutPolicy, RolloutState, begun, observe
from serving.rollout.sequential import Look

__all__ = ["Traffic", "simulate"]

LOOK_S = 10
PER_LOOK = 1_000
HALF = 3  # the place of 50 % among the steps


@dataclass(frozen=True)
class Traffic:
    """How the versions do: share of errors, and a factor on the canary's times."""

    stable_errors: float = 0.01
    canary_errors: float = 0.01
    canary_factor: float = 1.0


def simulate(traffic: Traffic, seed: int, policy: RolloutPolicy) -> RolloutState:
    """Return how a rollout ended; its times are lognormal, thresholds learnt from earlier looks."""
    random = np.random.default_rng(seed)
    state = begun("v2", "v1", 0, policy)
    past: np.ndarray = np.array([])
    now_us = 0
    while state.outcome is Outcome.RUNNING:
        now_us += LOOK_S * 1_000_000
        share = 0 if state.share == "shadow" else int(state.share) / 100
        canaries = int(random.binomial(PER_LOOK, share))
        stables = PER_LOOK - canaries
        times = random.lognormal(0, 0.6, stables)
        slower = random.lognormal(0, 0.6, canaries) * traffic.canary_factor
        looks = {
            Metric.ERRORS: Look(
                stable=stables,
                stable_bad=int(random.binomial(stables, traffic.stable_errors)),
                canary=canaries,
                canary_bad=int(random.binomial(canaries, traffic.canary_errors)),
            )
        }
        for metric, percent, draw in _graded(random, stables, canaries):
            looks[metric] = draw(percent)
        if past.size:
            limit = np.quantile(past, 0.95)
            looks[Metric.LATENCY] = Look(
                stable=stables,
                stable_bad=int((times > limit).sum()),
                canary=canaries,
                canary_bad=int((slower > limit).sum()),
            )
        past = np.concatenate([past, times])[-20_000:]
        state = observe(state, looks, now_us)
    return state


def _graded(
    random: np.random.Generator, stables: int, canaries: int
) -> list[tuple[Metric, float, Callable[[float], Look]]]:
    """Return quality (of every tenth request) and cost, which never differ here."""

    def draw(divide: int) -> Callable[[float], Look]:
        def look(rate: float) -> Look:
            a, b = stables // divide, canaries // divide
            return Look(
                stable=a,
                stable_bad=int(random.binomial(a, rate)),
                canary=b,
                canary_bad=int(random.binomial(b, rate)),
            )

        return look

    return [(Metric.QUALITY, 0.1, draw(10)), (Metric.COST, 0.1, draw(1))]
