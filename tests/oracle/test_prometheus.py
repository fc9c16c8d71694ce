"""``for`` and ``keep_firing_for`` against real Prometheus: same samples, same alerts.

``promtool test rules`` says at every evaluation which alerts must fire, as Tocsin fired them, and
fails on one too few or too many. Debian's package ``prometheus`` has it (2.42 and later know
``keep_firing_for``).

Where both differ on purpose stands in the last tests: Prometheus drops a pending alert, and
resolves a firing one, when its samples end; to Tocsin that is unknown (docs/adr/0004).
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerting.policy import Policy
from alerting.rehearsal import Rehearsal
from alerting.rules import Rule, RuleSet
from detectors.rolling import Rolling
from schemas.signal import Signal
from tests.unit.alerting.drive import EPOCH_US, rule_of
from tests.unit.detectors.windows import SIZE, S, make_window

PROMTOOL = shutil.which("promtool")

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(PROMTOOL is None, reason="promtool is not there: apt install prometheus"),
]

STEP_S = 10
Values = Sequence[float | None]


def rule(for_s: int, keep_s: int, **changes: Any) -> Rule:
    keys: dict[str, Any] = {
        "by": ["model"], "ladder": [], "summary": "x", "min_samples": 1, "damp": {"episodes": 0},
        "for": f"{for_s}s", "keep_firing_for": f"{keep_s}s", **changes,
    }  # fmt: skip
    return rule_of(**keys)


def fired(rule: Rule, values: Values) -> list[bool]:
    """Return whether Tocsin's alert is open after each value."""
    rehearsal = Rehearsal(RuleSet(version=1, rules=(rule,)), Policy())
    told = []
    for place, value in enumerate(values):
        signal = Signal(
            schema_version=1, signal=rule.signal, labels={"model": "m"}, over_s=rule.over_s,
            window_end_us=EPOCH_US + place * STEP_S * S, value=value,
            samples=0 if value is None else 100, detector="test",
        )  # fmt: skip
        told.append(rehearsal.step(rule, signal).open)
    return told


def promtool(
    tmp_path: Path, expr: str, for_s: int, keep_s: int, series: dict[str, str], told: list[bool]
) -> subprocess.CompletedProcess[str]:
    """Return what promtool makes of the same samples and of when Tocsin fired."""
    alert: dict[str, Any] = {"alert": "Tocsin", "expr": expr}
    if for_s:
        alert["for"] = f"{for_s}s"
    if keep_s:
        alert["keep_firing_for"] = f"{keep_s}s"
    groups = [{"name": "g", "interval": f"{STEP_S}s", "rules": [alert]}]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    expected = [
        {
            "eval_time": f"{place * STEP_S}s",
            "alertname": "Tocsin",
            "exp_alerts": [{"exp_labels": {"model": "m"}}] if is_open else [],
        }
        for place, is_open in enumerate(told)
    ]
    test = {
        "interval": f"{STEP_S}s",
        "input_series": [{"series": name, "values": text} for name, text in series.items()],
        "alert_rule_test": expected,
    }
    file = {"rule_files": ["rules.yml"], "evaluation_interval": f"{STEP_S}s", "tests": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(file))
    assert PROMTOOL is not None
    return subprocess.run(
        [PROMTOOL, "test", "rules", "test.yml"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def text_of(values: Values) -> str:
    return " ".join("stale" if value is None else repr(value) for value in values)


def noisy(seed: int, count: int = 180) -> list[float]:
    """Return error rates that stay on one side of 1 % for a while, and cross it at any time."""
    rng = random.Random(seed)
    values: list[float] = []
    while len(values) < count:
        values += [rng.choice([0.0, 0.005, 0.01, 0.02, 0.5])] * rng.randrange(1, 14)
    return values[:count]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("for_s", "keep_s"), [(0, 0), (60, 0), (0, 60), (30, 50), (120, 120)])
def test_alerts_fire_and_end_as_prometheus_says(
    tmp_path: Path, for_s: int, keep_s: int, seed: int
) -> None:
    values = noisy(seed)
    told = fired(rule(for_s, keep_s), values)
    series = {'error_rate{model="m"}': text_of(values)}
    answer = promtool(tmp_path, "error_rate > 0.01", for_s, keep_s, series, told)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert True in told or for_s > 60
    assert False in told


def test_an_oracle_that_cannot_disagree_is_none(tmp_path: Path) -> None:
    values = noisy(0)
    told = fired(rule(30, 50), values)
    told[told.index(True)] = False  # one evaluation late
    series = {'error_rate{model="m"}': text_of(values)}
    answer = promtool(tmp_path, "error_rate > 0.01", 30, 50, series, told)
    assert answer.returncode != 0


@pytest.mark.parametrize("seed", range(3))
def test_the_error_rate_of_windows_fires_as_the_ratio_of_sums(tmp_path: Path, seed: int) -> None:
    """Requests and errors of each window, an exact rational on both sides."""
    rng = random.Random(seed)
    alert = rule(20, 40, over="60s", condition="> 3%")
    rolling = Rolling([alert.query], SIZE)
    rehearsal = Rehearsal(RuleSet(version=1, rules=(alert,)), Policy())
    counts: list[tuple[int, int]] = []
    told = []
    for place in range(120):
        requests = rng.randrange(20, 60)
        failing = rng.random() < 0.3 if place % 40 > 20 else False
        counts.append((requests, rng.randrange(8) if failing else 0))
        rolling.add(
            make_window(place * 10 + 10, {"model": "m"}, requests=requests, errors=counts[-1][1])
        )
        signals = rolling.evaluate((place * 10 + 10) * S)
        told += [rehearsal.step(alert, signal).open for signal in signals]
    series = {
        'requests{model="m"}': " ".join(str(requests) for requests, _ in counts),
        'errors{model="m"}': " ".join(str(errors) for _, errors in counts),
    }
    # 59 s: Prometheus' ranges hold both of their ends.
    expr = "sum_over_time(errors[59s]) / sum_over_time(requests[59s]) > 0.03"
    answer = promtool(tmp_path, expr, 20, 40, series, told)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert True in told


def test_the_latency_rule_fires_after_its_15_minutes(tmp_path: Path) -> None:
    values = [1.0] * 10 + [2.5] * 80 + [1.0] + [2.5] * 120 + [1.0] * 60
    alert = rule(900, 300, signal="e2e_p95", kind="baseline", condition="> 2x", over="5m")
    series = {'e2e_p95_ratio{model="m"}': text_of(values)}
    told = fired(alert, values)
    answer = promtool(tmp_path, "e2e_p95_ratio > 2", 900, 300, series, told)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert told.index(True) == 91 + 90


def test_prometheus_forgets_a_pending_alert_without_samples_and_tocsin_does_not(
    tmp_path: Path,
) -> None:
    values: list[float | None] = [0.5] * 4 + [None] * 2 + [0.5] * 10
    told = fired(rule(60, 0), values)
    assert told.index(True) == 8  # the 20 s of nothing do not count, the 30 s before them do
    series = {'error_rate{model="m"}': text_of(values)}
    assert promtool(tmp_path, "error_rate > 0.01", 60, 0, series, told).returncode != 0
    theirs = [False] * 12 + [True] * 4  # from the beginning again
    answer = promtool(tmp_path, "error_rate > 0.01", 60, 0, series, theirs)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_prometheus_resolves_what_falls_silent_and_tocsin_does_not(tmp_path: Path) -> None:
    values: list[float | None] = [0.5] * 4 + [None] * 4
    told = fired(rule(0, 0), values)
    assert told == [True] * 8
    series = {'error_rate{model="m"}': text_of(values)}
    theirs = [True] * 4 + [False] * 4
    answer = promtool(tmp_path, "error_rate > 0.01", 0, 0, series, theirs)
    assert answer.returncode == 0, answer.stdout + answer.stderr
