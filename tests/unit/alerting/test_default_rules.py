"""The shipped rules row by row: what the guide's tables say, and when, on values and on windows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from alerting.evaluator import Evaluator
from alerting.rules import RuleSet, load_rules
from detectors.baseline import BaselineSettings
from detectors.engine import Engines
from detectors.rolling import Rolling
from schemas.action import ActionKind, ActionStatus
from schemas.alert import Severity
from schemas.engine import EngineSample
from schemas.signal import Signal
from tests.unit.alerting.drive import EPOCH_US, Drive
from tests.unit.detectors.windows import make_window

RULES = load_rules(None)
MINUTE, HOUR = 60, 3_600
S = 1_000_000


def drive_of(name: str, rules: RuleSet = RULES) -> Drive:
    return Drive(rules.by_name[name])


def advice(drive: Drive) -> list[str]:
    return [intent.advice or "" for intent in drive.intents]


def test_quality_below_the_threshold_is_investigated_and_after_4_h_rolled_back() -> None:
    drive = drive_of("quality-degraded")
    drive.run(0, HOUR, 0.8, 30, every=MINUTE)
    assert drive.phase == "inactive"
    drive.run(HOUR, HOUR + 4 * HOUR, 0.6, 30, every=MINUTE)
    assert "Read the lowest scored answers" in advice(drive)[0]
    assert drive.acts == []
    drive.see(5 * HOUR, 0.6, 30)
    assert [act.kind for act in drive.acts] == [ActionKind.ROLLBACK]


def test_a_few_bad_scores_neither_page_nor_roll_back() -> None:
    drive = drive_of("quality-degraded")
    drive.run(0, 6 * HOUR, 0.1, 19, every=MINUTE)
    assert (drive.phase, drive.acts) == ("inactive", [])


def test_latency_twice_its_baseline_is_told_after_15_min_and_scaled_up_after_30() -> None:
    drive = drive_of("latency-high")
    drive.run(0, 15 * MINUTE, 2.5, every=30)
    assert drive.phase == "pending"
    drive.see(15 * MINUTE, 2.5)
    assert "Check scaling and GPU" in advice(drive)[0]
    drive.run(15 * MINUTE + 30, 30 * MINUTE, 2.5, every=30)
    assert drive.acts == []
    drive.see(30 * MINUTE, 2.5)
    assert [act.kind for act in drive.acts] == [ActionKind.SCALE_UP]


def test_an_error_rate_above_1_percent_is_checked_and_above_5_falls_back() -> None:
    drive = drive_of("error-rate")
    drive.run(0, 10 * MINUTE, 0.02)
    assert "Check the provider's status" in advice(drive)[0]
    assert (drive.state.severity, drive.acts) == (Severity.ERROR, [])
    drive.see(10 * MINUTE, 0.06)
    assert drive.state.severity is Severity.CRITICAL
    assert [act.kind for act in drive.acts] == [ActionKind.ROLLBACK]
    drive.answer(ActionStatus.REFUSED)  # nothing was promoted: the chain goes on
    drive.see(10 * MINUTE + 10, 0.06)
    assert [act.kind for act in drive.acts] == [ActionKind.ROLLBACK, ActionKind.FALLBACK]


@pytest.mark.parametrize(
    ("warning", "critical", "good", "between", "worst"),
    [
        ("ttft-slow", "ttft-critical", 0.5, 2.0, 4.0),
        ("e2e-slow", "e2e-critical", 3.0, 7.0, 12.0),
        ("decode-slow", "decode-critical", 30.0, 10.0, 4.0),
    ],
)
def test_levels_of_the_performance_table(
    warning: str, critical: str, good: float, between: float, worst: float
) -> None:
    for value, phases in (
        (good, ("inactive", "inactive")),
        (between, ("firing", "inactive")),
        (worst, ("firing", "firing")),
    ):
        drives = [drive_of(warning), drive_of(critical)]
        for drive in drives:
            drive.run(0, 5 * MINUTE, value, every=30)
            assert drive.phase in ("inactive", "pending")
            drive.see(5 * MINUTE, value)
        assert tuple(drive.phase for drive in drives) == phases
    assert RULES.by_name[warning].severity is Severity.WARNING
    assert RULES.by_name[critical].severity is Severity.CRITICAL


def test_a_critical_level_mutes_its_warning_and_no_other() -> None:
    (inhibition,) = [i for i in RULES.inhibitions if i.name == "ttft-critical-over-slow"]
    labels = {"model": "m", "model_version": "v2"}
    critical = {**labels, "rule": "ttft-critical", "severity": "critical"}
    warning = {**labels, "rule": "ttft-slow", "severity": "warning"}
    assert inhibition.mutes(critical, warning)
    assert not inhibition.mutes(critical, {**warning, "model_version": "v1"})
    assert not inhibition.mutes(critical, {**warning, "rule": "e2e-slow"})


class Play:
    """The shipped rules in fast motion over windows of a second: what fires and what acts."""

    def __init__(self, *names: str) -> None:
        rules = RULES.scaled(60)
        self.rules = RuleSet(version=1, rules=tuple(rules.by_name[name] for name in names))
        self.rolling = Rolling(self.rules.queries(), S, BaselineSettings())
        self.evaluator = Evaluator(self.rules, max_lag_s=60)
        self.drives: dict[str, Drive] = {}
        self.end_s = 0

    def run(self, seconds: int, requests: int, **counts: int) -> None:
        for _ in range(seconds):
            self.end_s += 1
            end_us = EPOCH_US + self.end_s * S
            window = make_window(1, {"model": "m", "feature": "chat", "provider": "p"},
                                 requests=requests, **counts)  # fmt: skip
            placed = {"start_us": end_us - S, "end_us": end_us}
            self.rolling.add(type(window)(**{**fields_of(window), **placed}))
            self.see(self.rolling.evaluate(end_us))

    def see(self, signals: Iterable[Signal]) -> None:
        for signal in signals:
            for rule, seen in self.evaluator.due(signal, list):
                self.drives.setdefault(rule.name, Drive(rule)).feed(seen)


def fields_of(window: object) -> dict[str, object]:
    return {name: getattr(window, name) for name in type(window).__slots__}  # type: ignore[attr-defined]


def test_a_cost_that_traffic_explains_is_told_and_limits_nobody() -> None:
    play = Play("cost-explosion")
    play.run(300, 20, cost_nano_usd=20 * 10**6, input_tokens=2_000, output_tokens=400)
    assert play.drives["cost-explosion"].phase == "inactive"
    play.run(120, 60, cost_nano_usd=60 * 10**6, input_tokens=6_000, output_tokens=1_200)
    drive = play.drives["cost-explosion"]
    assert drive.state.open
    assert "Requests grew as the cost did" in advice(drive)[0]
    assert drive.state.detail["unexplained_ratio"] == pytest.approx(1, abs=0.01)
    assert drive.acts == []


@pytest.mark.parametrize("requests", [20, 32])  # 32: traffic grew, but by far not as the cost did
def test_a_cost_that_traffic_does_not_explain_is_limited(requests: int) -> None:
    play = Play("cost-explosion")
    play.run(300, 20, cost_nano_usd=20 * 10**6, input_tokens=2_000, output_tokens=400)
    play.run(
        120, requests, cost_nano_usd=3 * requests * 10**6, input_tokens=6_000, output_tokens=1_200
    )
    drive = play.drives["cost-explosion"]
    assert "Requests did not grow as the cost did" in advice(drive)[0]
    (act,) = drive.acts
    assert act.kind is ActionKind.RATE_LIMIT
    assert act.requested_at_us - (drive.state.firing_us or 0) >= 10 * S
    assert act.evidence["unexplained_ratio"] > 1.5


@pytest.mark.parametrize(
    ("gpu", "fires", "after_s"),
    [(0.30, "gpu-idle", 30 * MINUTE), (0.97, "gpu-saturated", 5 * MINUTE), (0.8, None, 0)],
)
def test_gpu_levels_from_what_engines_say(gpu: float, fires: str | None, after_s: int) -> None:
    engines = Engines(RULES.queries())
    drives = {name: drive_of(name) for name in ("gpu-idle", "gpu-saturated")}
    for at_s in range(0, 35 * MINUTE, 10):
        engines.add(
            EngineSample(
                schema_version=1,
                server="x",
                engine_index=0,
                at_us=EPOCH_US + at_s * S,
                model="m",
                running_requests=1,
                waiting_requests=0,
                gpu_utilization=gpu,
            )
        )
        for signal in engines.evaluate(EPOCH_US + at_s * S):
            for drive in drives.values():
                if drive.rule.matches(signal):
                    drive.feed(signal)
    for name, drive in drives.items():
        assert drive.state.open is (name == fires)
    if fires is not None:
        assert (drives[fires].state.firing_us or 0) - EPOCH_US >= after_s * S


def test_an_engine_without_a_gpu_counter_is_no_idle_gpu() -> None:
    engines = Engines(RULES.queries())
    for at_s in range(300):
        engines.add(
            EngineSample(
                schema_version=1,
                server="x",
                engine_index=0,
                at_us=at_s * S,
                model="m",
                running_requests=1,
                waiting_requests=0,
            )
        )
    values = {s.signal: s.value for s in engines.evaluate(300 * S)}
    assert values["gpu_utilization"] is None


def test_a_fallback_that_serves_is_told_and_rolled_back_though_nobody_sees_an_error() -> None:
    rolling = Rolling(RULES.queries(), 10 * S)
    drives = {name: drive_of(name) for name in ("fallback-serves", "error-rate")}
    began_s = 5 * MINUTE
    for end_s in range(10, 20 * MINUTE, 10):
        route = "fallback" if began_s < end_s <= began_s + 6 * MINUTE else "stable"
        labels = {"provider": "p", "model": "m", "model_version": "v", "route": route}
        window = make_window(end_s, labels, requests=20)
        moved = replace(
            window, start_us=window.start_us + EPOCH_US, end_us=window.end_us + EPOCH_US
        )
        rolling.add(moved)
        for signal in rolling.evaluate(moved.end_us):
            for drive in drives.values():
                if drive.rule.matches(signal):
                    drive.feed(signal)
    told = drives["fallback-serves"]
    assert "answered by a fallback" in told.intents[0].title
    assert 60 <= ((told.state.firing_us or 0) - EPOCH_US) / S - began_s <= 90
    [act] = told.acts
    assert act.kind is ActionKind.ROLLBACK
    # All that it looks back on came after what is in force stopped to answer.
    since_us = act.requested_at_us - round(act.evidence["covered_s"] * S)
    assert act.evidence["fallbacks"] == act.evidence["samples"]
    assert since_us >= EPOCH_US + began_s * S
    assert drives["error-rate"].phase == "inactive"
