"""What a live run decided, a backtest over its store decides again; rules change while it runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alerting.rules import load_rules
from schemas.codec import encode_batch
from schemas.topics import Topics
from tests.acceptance.running import FAST, Running, eventually, new_events, producer, running_stack
from tests.support.broker import read_all
from tocsin.backtest.run import Outcome, Span, backtest

pytestmark = pytest.mark.acceptance

RULES = """
version: 1
rules:
  - name: error-rate
    signal: error_rate
    over: 20s
    by: [provider, model, model_version]
    condition: "> 10%"
    for: 20s
    keep_firing_for: 20s
    min_samples: 20
    severity: error
    summary: "{model} {model_version}: {value:.1%} of requests fail"
    runbook: docs/alerting.md#runbook-errors
    ladder:
      - name: look
        after: 10s
        notify: "Look at the provider."
      - name: rollback
        after: 20s
        act: rollback
        verify_within: 10m
        min_samples: 20
  - name: slow
    signal: e2e_p95
    over: 30s
    by: [model_version]
    condition: "> 1.5 s"
    keep_firing_for: 20s
    min_samples: 20
    severity: warning
    summary: "{model_version} is slow"
    runbook: docs/alerting.md#runbook-latency
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, rules: Path) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("backtest")
    with running_stack(path / "data", TOCSIN_ALERTING__RULES=str(rules)) as stack:
        yield stack


async def traffic(running: Running, seconds: float, failing: float) -> None:
    """Send requests of two versions; ``failing`` of v2's fail, and take long."""
    rng = random.Random(11)
    async with producer(running.bootstrap) as sender:
        for _ in range(round(seconds / 0.2)):
            bad = round(20 * failing)
            fails: dict[str, Any] = {"status_code": 500, "error_type": "oom"}
            fine: dict[str, Any] = {"status_code": 200, "error_type": None, "e2e_s": 0.5}
            events = [
                *new_events(bad, rng, model_version="v2", e2e_s=3.0, **fails),
                *new_events(20 - bad, rng, model_version="v2", **fine),
                *new_events(20, rng, model_version="v1", **fine),
            ]
            await sender.send_and_wait(Topics.REQUESTS.name, encode_batch(events))
            await asyncio.sleep(0.2)


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def tried(running: Running, rules: Path) -> Outcome:
    ends = "SELECT toUnixTimestamp64Micro({0}(window_end)) FROM signals"
    span = Span(running.value(ends.format("min")) - 1_000_000, running.value(ends.format("max")))
    settings = running.stack.settings
    scaled = settings.streams.model_copy(
        update={"time_scale": float(FAST["TOCSIN_STREAMS__TIME_SCALE"])}
    )
    settings = settings.model_copy(update={"streams": scaled})
    return backtest(running.client, load_rules(rules), settings, span)


async def test_a_backtest_decides_what_the_live_run_decided(running: Running, rules: Path) -> None:
    resolved = (
        "SELECT count() FROM alerts FINAL WHERE to_phase = 'resolved' AND rule = {rule:String}"
    )
    await traffic(running, 4, failing=0.0)
    await traffic(running, 12, failing=0.5)
    sending = asyncio.create_task(traffic(running, 15, failing=0.0))
    for rule in ("error-rate", "slow"):
        await eventually(lambda rule=rule: running.value(resolved, rule=rule) >= 1)
    await sending
    told = len(await read_all(running.bootstrap, Topics.ALERTS.name))
    await eventually(lambda: running.value("SELECT count() FROM alerts FINAL") == told)

    outcome = tried(running, rules)
    lived = running.rows("""
        SELECT toUnixTimestamp64Micro(at), rule, labels, from_phase, to_phase, step, incident_id,
               reason
        FROM alerts FINAL
    """)
    decided = [
        (t.at_us, t.rule, t.labels, t.from_phase.value, t.to_phase.value, t.step, t.incident_id,
         t.reason)
        for t in (said.transition for said in outcome.said)
    ]  # fmt: skip
    key = lambda row: (row[0], row[1], str(row[2]), row[3], row[4], row[7])
    assert sorted(decided, key=key) == sorted(lived, key=key)
    assert {row[5] for row in decided} >= {"look", "rollback"}
    assert any("failed" in row[7] for row in decided)  # what the executor answered then
    assert set(outcome.sources.values()) == {"signals"}

    # Had the percentile not been recorded, the windows' sketches would tell it.
    running.client.command("DELETE FROM signals WHERE signal = 'e2e_p95'")
    outcome = tried(running, rules)
    assert outcome.sources == {"error-rate": "signals", "slow": "windows"}
    decided = [
        (t.at_us, t.labels, t.from_phase.value, t.to_phase.value)
        for t in (said.transition for said in outcome.said if said.transition.rule == "slow")
    ]
    slow = [(row[0], row[2], row[3], row[4]) for row in lived if row[1] == "slow"]
    assert sorted(decided, key=str) == sorted(slow, key=str)


async def test_changed_rules_are_in_force_without_a_restart_and_bad_ones_are_not(
    running: Running, rules: Path
) -> None:
    loaded = "tocsin_rules_loaded_total"
    write(rules, RULES.replace("over: 30s", "over: soon"))
    await eventually(lambda: running.metric("tocsin_rules_refused") == 1)
    assert "over: 'soon' is no duration" in running.log()
    write(rules, RULES.replace("name: slow", "name: slower").replace("over: 30s", "over: 40s"))
    await eventually(lambda: running.metric(loaded) == 1)
    assert running.metric("tocsin_rules_refused") == 0
    fired = "SELECT count() FROM alerts FINAL WHERE rule = 'slower' AND to_phase = 'firing'"
    sending = asyncio.create_task(traffic(running, 10, failing=0.5))
    await eventually(lambda: running.value(fired) >= 1)
    await sending
    asked = "SELECT count() FROM signals WHERE signal = 'e2e_p95' AND over_s = 4"
    await eventually(lambda: running.value(asked) > 0)
    assert running.metric("tocsin_rule_failures_total") == 0
    assert running.metric("tocsin_detector_failures_total") == 0
