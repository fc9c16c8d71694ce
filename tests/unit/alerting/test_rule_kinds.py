"""The kinds of rules: which signal each judges, what each needs, and where faults are told."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from alerting.errors import RulesError
from alerting.rules import Rule, parse_rules
from schemas.signal import SignalName, SignalQuery
from tests.unit.alerting.drive import BASE, LADDER, Drive, rule_of

BURN: dict[str, Any] = {
    "kind": "burn_rate",
    "objective": "99.9%",
    "over": "1h",
    "short": "5m",
    "condition": "> 14.4x",
    "ladder": [],
}


def without(*keys: str, **changes: Any) -> Rule:
    data = {key: value for key, value in {**BASE, **changes}.items() if key not in keys}
    return parse_rules(yaml.safe_dump({"version": 1, "rules": [data]}), "test").rules[0]


@pytest.mark.parametrize(
    ("changes", "signal", "condition"),
    [
        ({}, SignalName.ERROR_RATE, "> 0.01"),
        ({"kind": "threshold", "signal": "ttft_p95", "condition": "> 500 ms"},
         SignalName.TTFT_P95, "> 0.5"),
        ({"kind": "baseline", "signal": "e2e_p95", "condition": "> 2x"},
         SignalName.E2E_P95_RATIO, "> 2"),
        ({"kind": "baseline", "signal": "e2e_p95_ratio", "condition": "> 2"},
         SignalName.E2E_P95_RATIO, "> 2"),
        ({"kind": "anomaly", "signal": "ttft_p95", "detector": "mad", "condition": "> 4"},
         SignalName.TTFT_P95_MAD, "> 4"),
        ({"kind": "anomaly", "signal": "input_tokens", "detector": "psi", "condition": "> 0.3"},
         SignalName.INPUT_TOKENS_PSI, "> 0.3"),
        ({"kind": "anomaly", "signal": "input_tokens_ks", "condition": "> 0.1"},
         SignalName.INPUT_TOKENS_KS, "> 0.1"),
        (BURN, SignalName.ERROR_BURN, "> 14.4"),
        ({"kind": "absence", "signal": "request_count", "condition": "< 10 requests",
          "min_samples": 0, "ladder": []}, SignalName.REQUEST_COUNT, "< 10"),
    ],
)  # fmt: skip
def test_each_kind_judges_its_own_signal(
    changes: dict[str, Any], signal: SignalName, condition: str
) -> None:
    rule = rule_of(**changes) if "ladder" in changes else rule_of(**changes, ladder=[])
    assert (rule.signal, str(rule.condition)) == (signal, condition)


def test_usual_conditions_need_not_be_written() -> None:
    anomaly = {"kind": "anomaly", "signal": "e2e_p95"}
    assert str(without("condition", **anomaly, detector="mad").condition) == "> 3.5"
    assert str(without("condition", **anomaly, detector="adwin").condition) == "> 0.5"
    absent = without("condition", "min_samples", kind="absence", signal="request_count")
    assert (str(absent.condition), absent.min_samples) == ("< 1", 0)


def test_a_burn_rate_asks_for_both_lookbacks_and_scales_both() -> None:
    rule = rule_of(**BURN)
    labels = ("provider", "model", "model_version")
    assert rule.query == SignalQuery(SignalName.ERROR_BURN, 3_600, labels, 300, 0.999)
    assert rule.scaled(60).query == SignalQuery(SignalName.ERROR_BURN, 60, labels, 5, 0.999)


def test_only_a_rule_that_pins_all_its_labels_expects_a_series_never_seen() -> None:
    absent = {"kind": "absence", "signal": "request_count", "min_samples": 0, "ladder": [],
              "condition": "< 1", "summary": "gone"}  # fmt: skip
    assert rule_of(**absent, by=[]).expected_labels == {}
    assert rule_of(**absent, by=["model"]).expected_labels is None
    assert rule_of(**absent, by=["model"], scope=["model=~llama"]).expected_labels is None
    pinned = rule_of(**absent, by=["model", "route"], scope=["model=llama", "route=chat"])
    assert pinned.expected_labels == {"model": "llama", "route": "chat"}
    assert rule_of().expected_labels is None


def test_an_absent_series_fires_and_resolves_when_it_is_back() -> None:
    drive = Drive(without("condition", "min_samples", kind="absence", signal="request_count",
                          **{"for": "1m", "keep_firing_for": "30s"}))  # fmt: skip
    drive.run(0, 60, 40.0)
    assert drive.phase == "inactive"
    drive.run(60, 120, 0.0, samples=0)
    assert drive.phase == "pending"
    drive.see(120, 0.0, samples=0)
    assert drive.phase == "firing"
    drive.run(130, 170, 12.0)
    assert drive.phase == "resolved"


def test_annotations_are_templates_of_the_rule() -> None:
    rule = rule_of(
        annotations={"team": "llm", "board": "https://grafana/?model={model}&v={value:.0%}"}
    )
    said = rule.render_annotations({"model": "llama"}, 0.07, None, 100)
    assert said == {"team": "llm", "board": "https://grafana/?model=llama&v=7%"}


@pytest.mark.parametrize(
    ("changes", "key", "expected"),
    [
        ({"kind": "trend"}, "kind", "Input should be 'threshold', 'baseline'"),
        ({"signal": "eror_rate"}, "signal", "did you mean 'error_rate'?"),
        ({"kind": "baseline", "signal": "quality_score"}, "signal",
         "there is no baseline of 'quality_score'; there is of error_rate"),
        ({"kind": "burn_rate", "signal": "e2e_p95"}, "signal",
         "there is no error budget of 'e2e_p95'"),
        ({"kind": "burn_rate", "short": "5m"}, "kind", "a burn rate needs 'objective'"),
        ({"kind": "burn_rate", "objective": "99%"}, "kind", "a burn rate needs 'short'"),
        ({**BURN, "objective": "100%"}, "objective", "'100%' is no share between 0 and 1"),
        ({**BURN, "short": "1h"}, "short", "expected more than 0s and less than 1h"),
        ({**BURN, "short": "-5m"}, "short", "'-5m' is negative"),
        ({**BURN, "condition": "> 14 ms"}, "condition", "error_burn has the unit x, not ms"),
        ({"kind": "anomaly"}, "kind", "an anomaly needs 'detector': mad or adwin"),
        ({"kind": "anomaly", "detector": "psi"}, "detector",
         "no detector 'psi' for error_rate; there is mad and adwin"),
        ({"kind": "anomaly", "signal": "input_tokens_ks", "detector": "psi"}, "detector",
         "the signal named is that of 'ks'"),
        ({"kind": "anomaly", "signal": "watermark_lag", "detector": "mad"}, "signal",
         "no detector watches 'watermark_lag'"),
        ({"detector": "mad"}, "detector", "this key belongs to rules of kind anomaly"),
        ({"objective": "99%"}, "objective", "this key belongs to rules of kind burn_rate"),
        ({"kind": "absence"}, "signal", "the absence of data is told by engine_sample_count"),
        ({"kind": "absence", "signal": "request_count"}, "min_samples", "expected 0 or no such"),
        ({"kind": "absence", "signal": "request_count", "min_samples": 0,
          "condition": "< 1"}, "act",
         "no action rests on the absence of data"),
        ({"by": ["model", "modle_version"]}, "by", "did you mean 'model_version'?"),
        ({"signal": "gpu_utilization", "by": ["server", "feature"], "summary": "x"}, "by",
         "gpu_utilization is told by engine_index, model, server, not by feature"),
        ({"signal": "watermark_lag", "condition": "> 1 s", "over": "0s", "summary": "x"}, "by",
         "watermark_lag is told by no labels, not by model, model_version, provider"),
        ({"condition": "> 3 furlongs"}, "condition", "no unit 'furlongs'"),
        ({"condition": "> 20 USD/h"}, "condition", "has the unit ratio, not USD/h"),
        ({"for": "-1m"}, "for", "'-1m' is negative"),
        ({"summary": "{colour}"}, "summary", "the template names {colour}"),
        ({"annotations": {"impact": "{value:.1%} of {users}"}}, "impact", "names {users}"),
        ({"annotations": {"Im pact": "x"}}, "Im pact", "'Im pact' is no name"),
        ({"ladder": [{**LADDER[0], "after": "-1s"}]}, "after", "'-1s' is negative"),
        ({"ladder": [{**LADDER[1], "act": "reboot"}]}, "act", "Input should be 'rollback'"),
        ({"ladder": [{**LADDER[1], "when": "< 0.1%"}]}, "when", "unreachable: < 0.001 never holds"),
        ({"ladder": [{**LADDER[1], "when": ["> 9%", "< 5%"]}]}, "when",
         "unreachable: < 0.05 never holds together with another (> 0.09)"),
        ({"ladder": [{**LADDER[1], "when": "detail.eror > 1"}]}, "when",
         "unreachable: the signal has no detail 'eror'; it has errors"),
        ({"ladder": [{**LADDER[1], "when": "> 5 s"}]}, "when", "the unit ratio, not s"),
        ({"ladder": [LADDER[1], {**LADDER[2], "after": "1s"}]}, "after", "shorter than that of"),
        ({"ladder": [{**LADDER[1], "verify_within": "1m"}]}, "verify_within", "longer than 'over'"),
    ],
)  # fmt: skip
def test_a_fault_is_told_at_the_line_of_its_key(
    changes: dict[str, Any], key: str, expected: str
) -> None:
    text = yaml.safe_dump(
        {"version": 1, "rules": [{**BASE, "ladder": LADDER, **changes}]}, sort_keys=False
    )
    with pytest.raises(RulesError) as caught:
        parse_rules(text, "rules.yaml")
    told = str(caught.value)
    assert expected in told, told
    line = int(told.split(":")[1])
    assert text.splitlines()[line - 1].strip().removeprefix("- ").startswith(f"{key}:"), told
    assert told.startswith(f"rules.yaml:{line}: rule 'error-rate': ")


def test_two_burn_rates_over_one_lookback_share_their_budget() -> None:
    rules = [{**BASE, **BURN}, {**BASE, **BURN, "name": "other", "objective": "99%"}]
    with pytest.raises(RulesError, match=r"test:\d+: rule 'other': over: .*same 'short'"):
        parse_rules(yaml.safe_dump({"version": 1, "rules": rules}), "test")
