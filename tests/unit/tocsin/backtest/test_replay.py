"""Steps left out change nothing: sparse and dense replays of random series decide alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.policy import Policy
from alerting.rehearsal import Rehearsal, answer_with
from alerting.rules import RuleSet
from schemas.action import ActionStatus
from schemas.base import SCHEMA_VERSION
from schemas.signal import Signal, SignalName
from tests.unit.alerting.drive import EPOCH_US, rule_of
from tocsin.backtest.replay import Replay
from tocsin.backtest.series import Series

S = 1_000_000
LADDER: list[dict[str, Any]] = [
    {"name": "tell", "after": "20s", "notify": "x"},
    {"name": "back", "after": "1m", "when": "> 5%", "act": "rollback", "verify_within": "2m"},
    {"name": "late", "after": "5m", "notify": "y"},
]
RULES = RuleSet(
    version=1,
    rules=(
        rule_of(name="one", by=["model"], ladder=LADDER, keep_firing_for="30s", summary="x"),
        rule_of(name="two", by=["model"], ladder=LADDER[:1], summary="x", **{"for": "40s"}),
        rule_of(name="gone", kind="absence", signal="request_count", condition="< 1", by=["model"],
                min_samples=0, ladder=[], scope=["model=a"], summary="gone"),
    ),
)  # fmt: skip

RUN = st.tuples(
    st.sampled_from([None, "silent", 0.0, 0.0, 0.02, 0.2, 0.2]),
    st.sampled_from([0, 5, 1_000]),
    st.integers(1, 25),
)
Point = tuple[int, float | None, int]


def points(runs: list[tuple[Any, int, int]]) -> list[Point]:
    told: list[Point] = []
    place = 0
    for value, samples, count in runs:
        for _ in range(count):
            if value != "silent":
                told.append((place, value, 0 if value is None else samples))
            place += 1
    return told


def series_of(rule: Any, model: str, told: list[Point]) -> Series:
    return Series(
        rule.query,
        {"model": model},
        np.array([EPOCH_US + place * 10 * S for place, _, _ in told], np.int64),
        np.array([np.nan if value is None else value for _, value, _ in told], np.float64),
        np.array([samples for _, _, samples in told], np.int64),
    )


def lag_signal(end_us: int, lag: float) -> Signal:
    return Signal(
        schema_version=SCHEMA_VERSION, signal=SignalName.WATERMARK_LAG, labels={}, over_s=0,
        window_end_us=end_us, value=lag, samples=1, detector="watermark",
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(RUN, min_size=1, max_size=8),
    st.lists(RUN, min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from([1.0, 1.0, 90.0]), st.integers(1, 40)), min_size=1),
    st.sampled_from(list(ActionStatus)),
)
def test_a_sparse_replay_decides_as_the_worker(
    first: Any, second: Any, lags: Any, status: ActionStatus
) -> None:
    told = {"a": points(first), "b": points(second)}
    count = 1 + max((p for part in told.values() for p, _, _ in part), default=0)
    lag = [value for value, times in lags for _ in range(times)]
    lag = (lag * count)[:count]
    ends = np.array([EPOCH_US + place * 10 * S for place in range(count)], np.int64)

    # As the worker sees it: signal by signal.
    dense = Rehearsal(RULES, Policy(), answer_with(status))
    errors, absent = RULES.rules[0], RULES.rules[2]
    replay = Replay(RULES, Policy(), answer_with(status), ends, np.array(lag), max_lag_s=60)
    tracks = []
    for model, part in told.items():
        series = series_of(errors, model, part)
        counts = [(p, float(n), n) for p, _, n in part]
        tracks.append((0, series))
        tracks.append((1, series_of(absent, model, counts)))
    for rank, series in tracks:
        replay.add(rank, series)
    for place, end_us in enumerate(ends.tolist()):
        for _, series in sorted(tracks, key=lambda track: track[0]):
            found = np.flatnonzero(series.ends == end_us)
            if found.size:
                dense.see(series.signal(int(found[0])))
        dense.see(lag_signal(end_us, lag[place]))

    sparse = replay.run()
    assert [decided(s) for s in sorted_said(sparse)] == [decided(s) for s in sorted_said(dense)]


def sorted_said(rehearsal: Rehearsal) -> list[Any]:
    return sorted(rehearsal.said, key=lambda s: (s.transition.at_us, s.transition.fingerprint))


def decided(said: Any) -> tuple[Any, ...]:
    t = said.transition
    return t.at_us, t.rule, t.labels, t.from_phase, t.to_phase, t.step, t.reason, said.request


def test_a_steady_week_takes_few_steps() -> None:
    rule = rule_of(name="one", by=["model"], ladder=LADDER, summary="x")
    count = 7 * 8_640
    ends = np.arange(1, count + 1, dtype=np.int64) * 10 * S + EPOCH_US
    values = np.where(np.arange(count) < 1_000, 0.0, 0.02)  # bad for the rest of the week
    series = Series(rule.query, {"model": "a"}, ends, values, np.full(count, 1_000))
    rules = RuleSet(version=1, rules=(rule,))
    replay = Replay(
        rules, Policy(), answer_with(ActionStatus.DRY_RUN), ends, np.zeros(count), max_lag_s=60
    )
    replay.add(0, series)
    rehearsal = replay.run()
    assert [s.transition.step for s in rehearsal.said] == [None, "tell", "late"]
