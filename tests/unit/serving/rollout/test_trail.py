"""The past of a rollout's figures: bounded, and without a request lost."""

from __future__ import annotations

from serving.rollout.machine import Metric, observe
from serving.rollout.sequential import Look
from serving.rollout.trail import TRAIL_LIMIT, Standing, Trail, TrailPoint, extended, observed_share
from tests.unit.serving.rollout.running import running

STEPS = (0, 1, 2, 3)


def test_it_stays_short_and_keeps_the_ends_of_every_step() -> None:
    trail: Trail = ()
    for number in range(10_000):
        step = min(3, number // 50)
        trail = extended(trail, TrailPoint(at_us=number, step=step))
    assert len(trail) <= TRAIL_LIMIT
    assert [point.at_us for point in trail] == sorted({point.at_us for point in trail})
    assert trail[-1].at_us == 9_999
    for step in STEPS:
        at = [point.at_us for point in trail if point.step == step]
        assert at[0] == 50 * step
        assert at[-1] == (50 * step + 49 if step < 3 else 9_999)


def test_what_is_left_out_loses_no_request() -> None:
    state = running(step=1)
    for number in range(1, 2_000):
        look = Look(stable=90, stable_bad=9, canary=10, canary_bad=number % 2)
        state = observe(state, {Metric.ERRORS: look}, number)
    assert len(state.trail) <= TRAIL_LIMIT
    last = state.trail[-1].metrics[Metric.ERRORS]
    assert last[:4] == (90 * 1_999, 9 * 1_999, 10 * 1_999, 1_000)
    assert len(state.model_dump_json()) < 200_000


def test_a_metric_that_a_look_knows_nothing_of_is_absent() -> None:
    look = Look(stable=90, canary=10)
    state = observe(running(step=1), {Metric.ERRORS: look, Metric.COST: look}, 10)
    state = observe(state, {Metric.ERRORS: look}, 20)
    assert [set(point.metrics) for point in state.trail[-2:]] == [
        {Metric.ERRORS, Metric.COST},
        {Metric.ERRORS},
    ]


def point(at_us: int, **counts: tuple[int, int]) -> TrailPoint:
    metrics = {
        Metric(name): Standing(stable, 0, canary, 0, 0.0)
        for name, (stable, canary) in counts.items()
    }
    return TrailPoint(at_us=at_us, step=1, metrics=metrics)


def test_the_share_that_was_observed() -> None:
    first = TrailPoint(at_us=0, step=0)
    assert observed_share(first, point(1, errors=(75, 25))) == 0.25
    assert observed_share(point(1, errors=(75, 25)), point(2, errors=(165, 35))) == 0.1


def test_a_share_of_nothing_is_unknown() -> None:
    one = point(1, errors=(75, 25))
    assert observed_share(one, point(2, errors=(75, 25))) is None
    assert observed_share(one, point(2)) is None
    # Counted again after a while: what came in between is not known to belong to this look.
    assert observed_share(point(1, cost=(5, 5)), point(2, errors=(75, 25))) is None
    assert observed_share(point(1, cost=(5, 5)), point(2, errors=(9, 9), cost=(6, 8))) == 0.75
