"""Judged quality: means by event time, with what could not be scored beside them."""

from uuid import UUID

import pytest

from detectors.quality import Quality, wilson_interval
from schemas.base import SCHEMA_VERSION
from schemas.evaluation import EvalOutcome, EvalResult
from schemas.event import new_event_id
from schemas.signal import SignalName, SignalQuery

S = 1_000_000
QUERY = SignalQuery(SignalName.QUALITY_SCORE, 60, ("model", "model_version"))


def result(
    end_s: int,
    score: float | None,
    *,
    version: str = "v1",
    event_id: UUID | None = None,
    at_s: int = 0,
    outcome: EvalOutcome | None = None,
) -> EvalResult:
    return EvalResult(
        schema_version=SCHEMA_VERSION,
        eval_id=new_event_id(),
        event_id=event_id or new_event_id(),
        request_id="r",
        request_end_us=end_s * S,
        at_us=at_s * S,
        evaluator="judge",
        judge_model="j",
        labels={"model": "m", "model_version": version, "feature": "chat"},
        outcome=outcome or (EvalOutcome.NO_TEXT if score is None else EvalOutcome.SCORED),
        score=score,
    )


def test_mean_of_each_group_with_its_interval() -> None:
    quality = Quality([QUERY])
    for score in (0.5, 1.0, 0.75):
        quality.add(result(10, score))
    quality.add(result(20, 0.0, version="v2"))
    one, two = quality.evaluate(30 * S)
    assert one.labels == {"model": "m", "model_version": "v1"}
    assert (one.value, one.samples, one.over_s, one.window_end_us) == (0.75, 3, 60, 30 * S)
    assert one.detail["ci_low"] < 0.75 < one.detail["ci_high"]
    assert (two.value, two.samples) == (0.0, 1)
    assert two.detail["ci_low"] == 0
    assert two.detail["ci_high"] > 0.5  # one bad answer proves little


def test_unscored_is_counted_and_in_no_mean() -> None:
    quality = Quality([QUERY])
    quality.add(result(10, 0.9))
    for outcome in (EvalOutcome.NO_TEXT, EvalOutcome.JUDGE_ERROR, EvalOutcome.SKIPPED):
        quality.add(result(10, None, outcome=outcome))
    (signal,) = quality.evaluate(30 * S)
    assert (signal.value, signal.samples, signal.detail["unscored"]) == (0.9, 1, 3)


def test_without_a_score_it_is_unknown() -> None:
    quality = Quality([QUERY])
    quality.add(result(10, None))
    (signal,) = quality.evaluate(30 * S)
    assert (signal.value, signal.samples, signal.detail) == (None, 0, {"unscored": 1})


def test_scores_count_when_the_request_ended_and_leave_with_the_lookback() -> None:
    quality = Quality([QUERY])
    quality.evaluate(100 * S)
    quality.add(result(90, 0.2, at_s=5_000))  # the judge was late
    quality.add(result(30, 0.0))  # older than the lookback
    quality.add(result(120, 1.0))  # ahead of the windows
    assert [(s.value, s.samples) for s in quality.evaluate(110 * S)] == [(0.2, 1)]
    assert [(s.value, s.samples) for s in quality.evaluate(120 * S)] == [(0.6, 2)]
    assert [(s.value, s.samples) for s in quality.evaluate(150 * S)] == [(1.0, 1)]
    assert [(s.value, s.samples) for s in quality.evaluate(180 * S)] == [(None, 0)]
    assert quality.evaluate(240 * S) == []


def test_repeated_result_counts_once_and_a_newer_one_replaces_it() -> None:
    quality = Quality([QUERY])
    event_id = new_event_id()
    failed = result(10, None, event_id=event_id, at_s=11, outcome=EvalOutcome.JUDGE_ERROR)
    scored = result(10, 0.8, event_id=event_id, at_s=12)
    for item in (failed, scored, scored, failed):
        quality.add(item)
    (signal,) = quality.evaluate(30 * S)
    assert (signal.value, signal.samples, signal.detail["unscored"]) == (0.8, 1, 0)


def test_queries_for_other_detectors_are_left_out() -> None:
    quality = Quality([SignalQuery(SignalName.ERROR_RATE, 60, ())])
    quality.add(result(10, 0.5))
    assert quality.evaluate(30 * S) == []


def test_wilson_interval_against_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20 by the score method.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
