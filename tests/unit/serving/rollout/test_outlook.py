"""What is said of a rollout: what comes next, what keeps it, and how old the figures are."""

from __future__ import annotations

import pytest

from serving.rollout.machine import Metric, Outcome, RolloutPolicy, ended, observe
from serving.rollout.outlook import Verdict, comparisons, lag_of, outlook
from serving.rollout.sequential import Look
from tests.unit.serving.rollout.running import running

SECOND = 1_000_000
POLICY = RolloutPolicy(step_requests=1_000, step_s=300, shadow_s=60)
GOOD = Look(stable=900, stable_bad=9, canary=100, canary_bad=1)
WORRYING = Look(stable=9_000, stable_bad=90, canary=1_000, canary_bad=19)
BAD = Look(stable=9_000, stable_bad=90, canary=1_000, canary_bad=60)


def sentence(state: object, now_s: int) -> str:
    ahead = outlook(state, now_s * SECOND)  # type: ignore[arg-type]
    assert ahead is not None
    return ahead.sentence


def test_a_step_waits_for_requests_and_for_time() -> None:
    shadow = running(POLICY)
    assert sentence(shadow, 20) == "5 % after 40 s more, if the canary is no worse."
    first = running(POLICY, step=1)
    assert "1,000 more canary requests and 4 min 40 s more (none has come yet)" in sentence(
        first, 20
    )
    seen = observe(first, {Metric.ERRORS: GOOD}, 20 * SECOND)
    assert sentence(seen, 20) == (
        "25 % after 900 more canary requests and 4 min 40 s more, in about 4 min 40 s, "
        "if the canary is no worse."
    )
    assert sentence(seen, 400) == (
        "25 % after 900 more canary requests, in about 3 min, if the canary is no worse."
    )
    last = running(POLICY, step=3, step_requests=1_000)
    assert sentence(last, 300) == "All traffic at the next look, if the canary is no worse."


def test_without_a_request_nobody_knows_when() -> None:
    ahead = outlook(running(POLICY, step=1), 900 * SECOND)
    assert ahead is not None
    assert (ahead.requests, ahead.eta_s) == (0, None)


def test_a_suspicion_is_named() -> None:
    state = observe(running(POLICY, step=1), {Metric.COST: WORRYING}, 400 * SECOND)
    ahead = outlook(state, 400 * SECOND)
    assert ahead is not None
    assert (ahead.held_by, ahead.eta_s) == (Metric.COST, None)
    assert "suspicion against cost" in ahead.sentence


def test_a_rollout_that_is_over_waits_for_nothing() -> None:
    assert outlook(ended(running(), Outcome.DONE, "", 1), 2) is None


def test_every_metric_has_a_verdict() -> None:
    state = running(POLICY, step=1)
    assert {one.verdict for one in comparisons(state)} == {Verdict.UNKNOWN}
    looks = {
        Metric.ERRORS: GOOD,
        Metric.COST: WORRYING,
        Metric.QUALITY: Look(stable=100, stable_bad=10),
    }
    state = observe(state, looks, SECOND)
    verdicts = {one.metric: (one.verdict, one.evidence is None) for one in comparisons(state)}
    assert verdicts == {
        Metric.ERRORS: (Verdict.NO_HARM, False),
        Metric.LATENCY: (Verdict.UNKNOWN, True),
        Metric.QUALITY: (Verdict.UNKNOWN, True),  # no canary request was scored
        Metric.COST: (Verdict.SUSPICIOUS, False),
    }
    state = observe(state, {Metric.ERRORS: BAD}, 2 * SECOND)
    found = {one.metric: one for one in comparisons(state)}
    assert found[Metric.ERRORS].verdict is Verdict.WORSE
    assert found[Metric.ERRORS].silent_since_us is None
    assert found[Metric.COST].silent_since_us == SECOND


@pytest.mark.parametrize(
    ("changes", "driven", "now_s", "said"),
    [
        ({}, True, 90, None),
        ({}, None, 90, None),
        ({}, None, 101, "what came since is unknown"),
        ({}, False, 5, "`tocsin rollout start v3` takes it up again"),
        ({"trouble": "the store is away"}, True, 5, "5 s: the store is away"),
        ({"outcome": Outcome.DONE}, False, 10_000, None),
    ],
)
def test_old_figures_are_called_old(
    changes: dict[str, object], driven: bool | None, now_s: int, said: str | None
) -> None:
    lag = lag_of(running(**changes), now_s * SECOND, driven)
    assert lag is None if said is None else said in (lag or "")
