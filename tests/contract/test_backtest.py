"""Backtests on the real store: what was recorded is decided again, what adds up is computed."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from clickhouse_connect.driver.client import Client
from typer.testing import CliRunner

from alerting.policy import Policy
from alerting.rehearsal import Rehearsal, Word, answer_with
from alerting.rules import RuleSet, parse_rules
from alerting.state import Awaiting
from detectors.closed_window import Window
from detectors.engine import Engines
from detectors.feedback import Feedback
from detectors.quality import Quality
from detectors.rolling import Rolling
from schemas.action import (
    ActionDecided,
    ActionDecision,
    ActionMode,
    ActionRequested,
    ActionResult,
    ActionStatus,
)
from schemas.base import SCHEMA_VERSION
from schemas.clickhouse.migrate import migrate, store_client
from schemas.engine import EngineSample
from schemas.evaluation import EvalOutcome, EvalResult
from schemas.event import new_event_id
from schemas.feedback import FeedbackEvent, Thumb
from schemas.settings import ClickHouseSettings, Settings
from schemas.signal import Signal, SignalName
from streams.rows import columns_of, window_rows
from streams.sink import SINKS
from tests.contract.conftest import STORE_PASSWORD
from tests.support.events import numbered_id
from tests.unit.detectors.windows import sketch_of
from tocsin.backtest.columns import BacktestError
from tocsin.backtest.plot import moment_of
from tocsin.backtest.run import Span, backtest
from tocsin.cli.main import app
from tocsin.embedded.store import StoreAddress

EVAL_COLUMNS = (
    "eval_id", "event_id", "request_id", "request_end", "at", "evaluator", "judge_model", "labels",
    "outcome", "score", "explanation",
)  # fmt: skip
S = 1_000_000
WINDOW = 10 * S
START = time.time_ns() // 10**10 * WINDOW - 3 * 3_600 * S  # the store drops old sketches
COUNT = 900


def rule(name: str, **keys: Any) -> dict[str, Any]:
    return {
        "name": name, "severity": "error", "summary": name, "runbook": "docs/alerting.md",
        "by": ["model", "model_version"], "keep_firing_for": "30s", "min_samples": 20, **keys,
    }  # fmt: skip


RULES = [
    rule("errors", signal="error_rate", over="1m", condition="> 5%", ladder=[
        {"name": "tell", "after": "0s", "notify": "look"},
        {"name": "back", "after": "1m", "act": "rollback", "verify_within": "5m"},
        {"name": "on", "after": "3m", "when": "> 20%", "act": "fallback", "verify_within": "5m"},
    ]),
    rule("slow", signal="e2e_p95", over="1m", condition="> 2 s", **{"for": "1m"}),
    rule("costly", kind="baseline", signal="cost_rate", over="2m", condition="> 2x", by=["model"],
         ladder=[{"name": "limit", "after": "30s", "when": "detail.unexplained_ratio > 1.5",
                  "act": "rate_limit", "verify_within": "5m"}]),
    rule("burning", kind="burn_rate", signal="error_rate", objective="99%", over="5m", short="1m",
         condition="> 6x", by=["provider"]),
    rule("standing-in", signal="fallback_rate", over="1m", condition="> 30%", by=["model"]),
    rule("quiet", kind="absence", signal="request_count", over="1m", by=["model"], min_samples=0,
         scope=["model=b"], **{"for": "30s"}),
]  # fmt: skip


RELATIVE = [
    rule("slower", kind="baseline", signal="e2e_p95", over="1m", condition="> 2x"),
    rule("slowest", kind="baseline", signal="e2e_p95", over="2m", condition="> 1.5x", by=["model"]),
    rule("halting", signal="output_tokens_per_s", over="30s", condition="< 20 tokens/s"),
]


def lagging(number: int, seconds: float) -> Signal:
    return Signal(
        schema_version=SCHEMA_VERSION, signal=SignalName.WATERMARK_LAG, labels={}, over_s=0,
        window_end_us=START + number * WINDOW, value=seconds, samples=1, detector="watermark",
    )  # fmt: skip


def rules_of(*names: str) -> RuleSet:
    chosen = [item for item in RULES if not names or item["name"] in names]
    return parse_rules(yaml.safe_dump({"version": 1, "rules": chosen}), "test")


def story() -> list[list[Window]]:
    """Return windows by their end: two models, two versions, and things that go wrong."""
    rng = random.Random(3)
    told = []
    for number in range(1, COUNT + 1):
        windows = []
        for model in ("a", "b"):
            for version in ("v1", "v2"):
                if model == "b" and 700 <= number < 740:
                    continue
                requests = rng.randrange(20, 60)
                failing = model == "a" and version == "v2" and 300 <= number < 360
                slow = model == "b" and version == "v1" and 400 <= number < 420
                standing_in = model == "b" and version == "v2" and 600 <= number < 630
                dear = 5 if model == "b" and 500 <= number < 560 else 1
                windows.append(
                    Window(
                        start_us=START + (number - 1) * WINDOW,
                        end_us=START + number * WINDOW,
                        labels={
                            "provider": "p",
                            "model": model,
                            "model_version": version,
                            "route": "fallback" if standing_in else "stable",
                            "feature": "",
                        },
                        requests=requests,
                        errors=requests // 3 if failing else rng.randrange(2),
                        input_tokens=100 * requests * dear,
                        output_tokens=10 * requests,
                        cost_nano_usd=requests * dear * 1_000_003,
                        sketches={
                            "e2e_s": sketch_of([3.0 if slow else 1.0] * requests),
                            "tpot_s": sketch_of(
                                [0.1 if slow else 0.02 + requests / 1e4] * requests
                            ),
                        },
                    )
                )
        told.append(windows)
    return told


@pytest.fixture(scope="module")
def live() -> tuple[Rehearsal, list[Signal]]:
    """Return what the live steps decide, signal by signal, and all signals."""
    rules = rules_of()
    rolling = Rolling(rules.queries(), WINDOW)
    rehearsal, said = Rehearsal(rules, Policy()), []
    for number, windows in enumerate(story(), 1):
        for window in windows:
            rolling.add(window)
        signals = rolling.evaluate(START + number * WINDOW)
        signals.append(lagging(number, 90.0 if 320 <= number < 325 else 1.0))
        for signal in signals:
            rehearsal.see(signal)
        said += signals
    return rehearsal, said


@pytest.fixture
def tables(store: StoreAddress, database: str) -> Iterator[tuple[Client, Settings]]:
    clickhouse = ClickHouseSettings(
        host=store.host, port=store.port, password=STORE_PASSWORD, database=database
    )
    migrate(clickhouse)
    with store_client(clickhouse, database) as client:
        _insert(client, "windows", window_rows([w for windows in story() for w in windows]))
        yield client, Settings(clickhouse=clickhouse)


def _insert(client: Client, table: str, rows: Any) -> None:
    client.insert(table, list(rows.values()), column_names=list(rows), column_oriented=True)


def record(client: Client, signals: list[Signal]) -> None:
    sink = next(sink for sink in SINKS if sink.table == "signals")
    _insert(client, "signals", columns_of(signals, sink.columns))


SPAN = Span(START, START + COUNT * WINDOW)


def decisions(said: Any) -> list[tuple[Any, ...]]:
    return [
        (
            t.at_us,
            t.rule,
            tuple(sorted(t.labels.items())),
            t.from_phase,
            t.to_phase,
            t.step,
            t.reason,
        )
        for t in (item.transition for item in said)
    ]


def test_recorded_signals_are_decided_again_as_they_were(
    tables: tuple[Client, Settings], live: tuple[Rehearsal, list[Signal]]
) -> None:
    client, settings = tables
    rehearsal, signals = live
    record(client, signals)
    outcome = backtest(client, rules_of(), settings, SPAN)
    assert set(outcome.sources.values()) == {"signals"}
    assert outcome.untried == {}
    assert len(rehearsal.said) >= 20
    assert {item.transition.rule for item in rehearsal.said} == {r["name"] for r in RULES}
    assert sorted(decisions(outcome.said)) == sorted(decisions(rehearsal.said))
    assert any("held" in item.transition.reason for item in outcome.said)
    assert outcome.steps < 0.2 * outcome.windows


@pytest.mark.parametrize("approve", [True, False, None])
def test_what_people_decided_then_they_decide_again(
    tables: tuple[Client, Settings], live: tuple[Rehearsal, list[Signal]], approve: bool | None
) -> None:
    client, settings = tables
    _, signals = live
    (errors,) = rules_of("errors").rules
    asks = {"approval": ActionMode.REQUIRED, "approve_within_s": 240.0}
    ladder = [one.model_copy(update=asks) if one.name == "back" else one for one in errors.ladder]
    rules = RuleSet(version=1, rules=(errors.model_copy(update={"ladder": tuple(ladder)}),))
    results: list[ActionResult] = []
    words: list[ActionDecided] = []

    def answer(request: ActionRequested) -> ActionResult | None:
        result = answer_with(ActionStatus.APPLIED, "v2 -> v1")(request)
        if result is not None:
            results.append(result)
        return result

    def says(awaiting: Awaiting) -> Word | None:
        if approve is None:
            return None
        word = Word(approve, awaiting.since_us + 95 * S, "ann", "checked")
        status = ActionDecision.APPROVED if approve else ActionDecision.REJECTED
        request = awaiting.request
        decided = ActionDecided(
            schema_version=SCHEMA_VERSION, action_id=request.action_id, status=status, by="ann",
            fingerprint=request.fingerprint, incident_id=request.incident_id, reason="checked",
            at_us=word.at_us,
        )  # fmt: skip
        if decided not in words:
            words.append(decided)
        return word

    lived = Rehearsal(rules, Policy(), answer, says=says)
    for signal in signals:
        lived.see(signal)
    record(client, signals)
    sink = next(sink for sink in SINKS if sink.table == "actions")
    _insert(client, "actions", columns_of([*results, *words], sink.columns))
    outcome = backtest(client, rules, settings, SPAN)
    assert sorted(decisions(outcome.said)) == sorted(decisions(lived.said))
    said = " ".join(item.transition.reason for item in outcome.said)
    expected = {True: "approved by ann", False: "rejected by ann", None: "nobody decided within 4m"}
    assert "waits for approval until" in said
    assert expected[approve] in said
    kinds = [item.request.kind.value for item in outcome.said if item.request is not None]
    assert kinds[:1] == {True: ["rollback"], False: ["fallback"], None: []}[approve]


def test_what_adds_up_is_computed_from_windows_as_the_detectors_would(
    tables: tuple[Client, Settings], live: tuple[Rehearsal, list[Signal]]
) -> None:
    client, settings = tables
    rehearsal, signals = live
    record(client, [s for s in signals if s.signal is SignalName.WATERMARK_LAG])
    outcome = backtest(client, rules_of(), settings, SPAN)
    assert outcome.untried == {}
    assert set(outcome.sources.values()) == {"windows"}
    assert sorted(decisions(outcome.said)) == sorted(decisions(rehearsal.said))


def test_percentiles_of_windows_without_sketches_are_not_tried(
    tables: tuple[Client, Settings],
) -> None:
    client, settings = tables
    client.command("TRUNCATE TABLE windows")
    told = [replace(window, sketches={}) for windows in story() for window in windows]
    _insert(client, "windows", window_rows(told))
    outcome = backtest(client, rules_of("errors", "slow"), settings, SPAN)
    assert outcome.untried.keys() == {"slow"}
    assert "windows of this time keep no sketches" in outcome.untried["slow"]


def test_damaged_sketches_are_told_of(tables: tuple[Client, Settings]) -> None:
    client, settings = tables
    client.command(
        "INSERT INTO windows SELECT * REPLACE (requests + 1 AS requests, 'none' AS e2e_sketch)"
        " FROM windows LIMIT 1"
    )
    with pytest.raises(BacktestError, match=r"the store's sketches: .* head"):
        backtest(client, rules_of("slow"), settings, SPAN)


def test_ratios_of_percentiles_and_revisions_are_computed_as_the_detectors_would(
    tables: tuple[Client, Settings],
) -> None:
    client, settings = tables
    rules = parse_rules(yaml.safe_dump({"version": 1, "rules": RELATIVE}), "test")
    told = story()
    late = [replace(w, requests=w.requests - 1, sketches={}) for w in told[50]]
    _insert(client, "windows", window_rows(late))  # a part, said again by a later worker
    rolling, rehearsal = Rolling(rules.queries(), WINDOW), Rehearsal(rules, Policy())
    for number, windows in enumerate(told, 1):
        for window in windows:
            rolling.add(window)
        for signal in [*rolling.evaluate(START + number * WINDOW), lagging(number, 1.0)]:
            rehearsal.see(signal)
    outcome = backtest(client, rules, settings, SPAN)
    assert set(outcome.sources.values()) == {"windows"}
    assert {item.transition.rule for item in rehearsal.said} == {r["name"] for r in RELATIVE}
    assert sorted(decisions(outcome.said)) == sorted(decisions(rehearsal.said))
    values = [
        sorted((s.transition.rule, s.transition.at_us, str(s.transition.value)) for s in said)
        for said in (outcome.said, rehearsal.said)
    ]
    assert values[0] == values[1]


def test_episodes_tell_when_and_what(
    tables: tuple[Client, Settings], live: tuple[Rehearsal, list[Signal]]
) -> None:
    client, settings = tables
    outcome = backtest(client, rules_of("errors"), settings, SPAN)
    (episode,) = outcome.episodes
    assert episode.labels == {"model": "a", "model_version": "v2"}
    assert [(deed.step, deed.act) for deed in episode.deeds][-2:] == [
        ("back", "rollback"), ("on", "fallback"),
    ]  # fmt: skip
    later = backtest(client, rules_of("errors"), settings, Span(START + 5_000 * S, SPAN.until_us))
    assert later.episodes == []


def test_a_store_that_holds_nothing_of_the_time_says_so(tables: tuple[Client, Settings]) -> None:
    client, settings = tables
    with pytest.raises(BacktestError, match="neither signals nor windows"):
        backtest(client, rules_of("slow"), settings, Span(0, 1_000 * WINDOW))


def test_the_command_tells_and_draws_what_would_have_fired_and_what_differs(
    tables: tuple[Client, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, settings = tables
    store = settings.clickhouse
    monkeypatch.setenv("TOCSIN_CLICKHOUSE__PORT", str(store.port))
    monkeypatch.setenv("TOCSIN_CLICKHOUSE__PASSWORD", STORE_PASSWORD)
    monkeypatch.setenv("TOCSIN_CLICKHOUSE__DATABASE", store.database)
    files = {"old": [RULES[0]], "new": [{**RULES[0], "condition": "> 60%"}, RULES[3], JUDGED[0]]}
    for name, chosen in files.items():
        (tmp_path / name).write_text(yaml.safe_dump({"version": 1, "rules": chosen}))
    monkeypatch.setenv("TOCSIN_ALERTING__RULES", str(tmp_path / "old"))
    span = ["--from", moment_of(SPAN.since_us), "--to", moment_of(SPAN.until_us)]
    out = tmp_path / "page.html"
    result = CliRunner().invoke(
        app, ["rules", "backtest", *span, "--rules", str(tmp_path / "new"), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "1 incidents, 0 actions" in said
    assert re.search(r"\+ .* burning \| provider=p", said)
    assert re.search(r"- .* errors \| model=a, model_version=v2 \| .*back ", said)
    assert "not tried: poor: quality_score over 600 s by model, model_version was not" in said
    drawn = out.read_text(encoding="utf-8")
    assert drawn.count("<rect") == 2
    assert "Not tried: poor" in drawn
    same = CliRunner().invoke(app, ["rules", "backtest", *span, "--rules", str(tmp_path / "old")])
    assert "the same incidents" in same.output


def scored(number: int, version: str, score: float | None) -> EvalResult:
    at_us = START + number * 7 * S
    return EvalResult(
        schema_version=1,
        eval_id=new_event_id(),
        event_id=numbered_id(number),
        request_id=f"r{number}",
        request_end_us=at_us,
        at_us=at_us + S,
        evaluator="judge",
        judge_model="j",
        labels={"model": "a", "model_version": version},
        outcome=EvalOutcome.NO_TEXT if score is None else EvalOutcome.SCORED,
        score=score,
    )


JUDGED = [
    rule("poor", signal="quality_score", over="10m", condition="< 0.7", ladder=[
        {"name": "back", "after": "2m", "act": "rollback", "verify_within": "15m"}]),
    rule("unloved", signal="feedback_positive_rate", over="10m", condition="< 50%"),
    rule("hot", signal="gpu_utilization", over="1m", condition="> 95%", by=["server"],
         min_samples=5, **{"for": "1m"}),
    rule("unjudged", kind="absence", signal="score_count", over="10m", min_samples=0),
]  # fmt: skip


def test_scores_thumbs_and_engines_are_told_from_their_tables(
    tables: tuple[Client, Settings],
) -> None:
    client, settings = tables
    rules = parse_rules(yaml.safe_dump({"version": 1, "rules": JUDGED}), "test")
    rng = random.Random(8)
    quality, feedback = Quality(rules.queries()), Feedback(rules.queries())
    engines = Engines(rules.queries())
    results = []
    for number in range(1, 1_000):
        version = rng.choice(["v1", "v2"])
        bad = version == "v2" and 300 < number < 500
        score = None if rng.random() < 0.1 else (0.4 if bad else 0.9)
        results.append(scored(number, version, score))
        if number % 50 == 0:  # judged again: the newest counts
            results.append(results[-1].model_copy(
                update={"eval_id": new_event_id(), "at_us": results[-1].at_us + 5 * S, "score": 0.5,
                        "outcome": EvalOutcome.SCORED}
            ))  # fmt: skip
    for result in results:
        quality.add(result)
    _insert(client, "evals", columns_of(results, EVAL_COLUMNS))
    thumbs: list[tuple[Any, ...]] = []
    for number in range(1, 1_000):
        up = number < 600 or rng.random() < 0.2
        event = FeedbackEvent(
            schema_version=1, feedback_id=new_event_id(), request_id=f"r{number}",
            at_us=START + number * 7 * S, user_id="u", thumb=Thumb.UP if up else Thumb.DOWN,
        )  # fmt: skip
        feedback.add(event, {"model": "a", "model_version": "v1"})
        thumbs.append((event.feedback_id, event.request_id, event.at_us, "u", event.thumb.value,
                       True, "a", "v1"))  # fmt: skip
    client.insert(
        "feedback",
        thumbs,
        column_names=[
            "feedback_id",
            "request_id",
            "at",
            "user_id",
            "thumb",
            "matched",
            "model",
            "model_version",
        ],
    )
    samples = [
        EngineSample(schema_version=1, server="x", engine_index=0, at_us=START + second * S,
                     model="a", running_requests=1, waiting_requests=0,
                     gpu_utilization=None if second % 7 == 0 else 0.99 if 3_000 < second < 3_400
                     else 0.8)
        for second in range(1, 9_000)
    ]  # fmt: skip
    sink = next(sink for sink in SINKS if sink.table == "engine_samples")
    _insert(client, "engine_samples", columns_of(samples, sink.columns))

    rehearsal = Rehearsal(rules, Policy())
    waiting = iter(samples)
    for number in range(1, COUNT + 1):
        end_us = START + number * WINDOW
        for sample in waiting:
            engines.add(sample)
            if sample.at_us >= end_us:
                break
        for detector in (quality, feedback, engines):
            for signal in detector.evaluate(end_us):
                rehearsal.see(signal)
        rehearsal.see(
            Signal(schema_version=SCHEMA_VERSION, signal=SignalName.WATERMARK_LAG, labels={},
                   over_s=0, window_end_us=end_us, value=1.0, samples=1, detector="watermark")
        )  # fmt: skip
    outcome = backtest(client, rules, settings, Span(START - 1, SPAN.until_us))
    assert set(outcome.sources.values()) == {"facts"}
    assert {said.transition.rule for said in rehearsal.said} == {r["name"] for r in JUDGED}
    assert sorted(decisions(outcome.said)) == sorted(decisions(rehearsal.said))
