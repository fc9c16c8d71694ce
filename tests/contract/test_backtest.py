"""Backtests on the real store: what was recorded is decided again, what adds up is computed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from clickhouse_connect.driver.client import Client

from alerting.policy import Policy
from alerting.rehearsal import Rehearsal
from alerting.rules import RuleSet, parse_rules
from detectors.closed_window import Window
from detectors.rolling import Rolling
from schemas.base import SCHEMA_VERSION
from schemas.clickhouse.migrate import migrate, store_client
from schemas.settings import ClickHouseSettings, Settings
from schemas.signal import Signal, SignalName
from streams.rows import columns_of, window_rows
from streams.sink import SINKS
from tests.contract.conftest import STORE_PASSWORD
from tests.unit.detectors.windows import sketch_of
from tocsin.backtest.columns import BacktestError
from tocsin.backtest.run import Span, backtest
from tocsin.embedded.store import StoreAddress

S = 1_000_000
WINDOW = 10 * S
START = 1_790_000_000 * S // WINDOW * WINDOW
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
    rule("quiet", kind="absence", signal="request_count", over="1m", by=["model"], min_samples=0,
         scope=["model=b"], **{"for": "30s"}),
]  # fmt: skip


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
                dear = 5 if model == "b" and 500 <= number < 560 else 1
                windows.append(
                    Window(
                        start_us=START + (number - 1) * WINDOW,
                        end_us=START + number * WINDOW,
                        labels={
                            "provider": "p",
                            "model": model,
                            "model_version": version,
                            "route": "",
                            "feature": "",
                        },
                        requests=requests,
                        errors=requests // 3 if failing else rng.randrange(2),
                        input_tokens=100 * requests * dear,
                        output_tokens=10 * requests,
                        cost_nano_usd=requests * dear * 1_000_003,
                        sketches={"e2e_s": sketch_of([3.0 if slow else 1.0] * requests)},
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
        lag = 90.0 if 320 <= number < 325 else 1.0
        signals.append(
            Signal(schema_version=SCHEMA_VERSION, signal=SignalName.WATERMARK_LAG, labels={},
                   over_s=0, window_end_us=START + number * WINDOW, value=lag, samples=1,
                   detector="watermark")
        )  # fmt: skip
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


def test_what_adds_up_is_computed_from_windows_as_the_detectors_would(
    tables: tuple[Client, Settings], live: tuple[Rehearsal, list[Signal]]
) -> None:
    client, settings = tables
    rehearsal, signals = live
    record(client, [s for s in signals if s.signal is SignalName.WATERMARK_LAG])
    outcome = backtest(client, rules_of(), settings, SPAN)
    assert outcome.untried.keys() == {"slow"}
    assert "not recorded" in outcome.untried["slow"]
    assert set(outcome.sources.values()) == {"windows"}
    lived = [item for item in rehearsal.said if item.transition.rule != "slow"]
    assert sorted(decisions(outcome.said)) == sorted(decisions(lived))


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
