"""The sequential test: valid at every look, and soon sure of what matters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serving.rollout.machine import Outcome, RolloutPolicy
from serving.rollout.sequential import Evidence, Look
from tests.unit.serving.rollout.simulate import HALF, Traffic, simulate

SEEDS = 200
POLICY = RolloutPolicy(step_s=60, shadow_s=60)


def test_the_bet_is_fair_when_there_is_no_difference() -> None:
    """Its expectation over all outcomes of a block is at most one, whatever the common rate."""
    start = Evidence(stable=1_000, stable_bad=30, canary=0, canary_bad=0)
    stable, canary = 6, 3
    for rate in (0.001, 0.01, 0.03, 0.1, 0.5, 0.9):
        mean = 0.0
        for a in range(stable + 1):
            for b in range(canary + 1):
                chance = math.comb(stable, a) * math.comb(canary, b)
                chance *= rate ** (a + b) * (1 - rate) ** (stable + canary - a - b)
                look = Look(stable=stable, stable_bad=a, canary=canary, canary_bad=b)
                mean += chance * math.exp(start.after(look).log_value)
        assert mean <= 1 + 1e-12


@pytest.mark.parametrize(("stable", "canary"), [(0.02, 0.01), (0.1, 0.05), (0.5, 0.1)])
def test_the_bet_loses_when_the_canary_is_better(stable: float, canary: float) -> None:
    start = Evidence(stable=1_000, stable_bad=30)
    mean = 0.0
    for a in range(7):
        for b in range(4):
            chance = math.comb(6, a) * stable**a * (1 - stable) ** (6 - a)
            chance *= math.comb(3, b) * canary**b * (1 - canary) ** (3 - b)
            look = Look(stable=6, stable_bad=a, canary=3, canary_bad=b)
            mean += chance * math.exp(start.after(look).log_value)
    assert mean <= 1


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("rate", [0.002, 0.01, 0.1])
def test_looking_all_the_time_seldom_alarms(share: float, rate: float) -> None:
    """At every one of 400 looks, in 400 runs, against a threshold of 20."""
    random = np.random.default_rng(7)
    runs, looks, size = 400, 400, 100
    alarms = 0
    for _ in range(runs):
        evidence = Evidence()
        canaries = random.binomial(size, share, looks)
        bad = random.binomial(size - canaries, rate)
        canary_bad = random.binomial(canaries, rate)
        for n, a, b in zip(canaries.tolist(), bad.tolist(), canary_bad.tolist(), strict=True):
            look = Look(stable=size - n, stable_bad=a, canary=n, canary_bad=b)
            evidence = evidence.after(look)
            if evidence.log_value >= math.log(20):
                alarms += 1
                break
    assert alarms <= 0.05 * runs


def test_a_group_that_is_empty_tells_nothing() -> None:
    evidence = Evidence().after(Look(stable=100, stable_bad=50)).after(Look(canary=100))
    assert evidence.log_value == 0
    assert (evidence.stable, evidence.canary) == (100, 100)


def test_more_bad_than_there_were() -> None:
    with pytest.raises(ValueError, match="more requests were bad"):
        Evidence().after(Look(stable=1, stable_bad=2))


def test_no_difference_seldom_aborts() -> None:
    ends = [simulate(Traffic(), seed, POLICY).outcome for seed in range(SEEDS)]
    assert ends.count(Outcome.ABORTED) <= 0.05 * SEEDS
    assert ends.count(Outcome.DONE) >= 0.95 * SEEDS


@pytest.mark.parametrize(
    "traffic",
    [Traffic(canary_errors=0.03), Traffic(canary_factor=1.5)],
    ids=["error rate 1 % to 3 %", "P95 +50 %"],
)
def test_a_regression_aborts_before_half_of_the_traffic(traffic: Traffic) -> None:
    ends = [simulate(traffic, seed, POLICY) for seed in range(SEEDS)]
    early = [e for e in ends if e.outcome is Outcome.ABORTED and e.step < HALF]
    assert len(early) >= 0.95 * SEEDS
