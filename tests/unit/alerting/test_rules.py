"""The rules file: what is read, and how each fault is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from alerting.errors import RulesError
from alerting.rules import RuleSet, load_rules, parse_rules
from schemas.action import ActionKind
from schemas.alert import Severity
from schemas.signal import SignalName, SignalQuery
from tests.unit.alerting.drive import BASE, LABELS, LADDER, Drive, rule_of

STEP: dict[str, Any] = {"name": "roll", "after": "1m", "act": "rollback", "verify_within": "5m"}


def test_the_default_rules_are_the_guide_s_table() -> None:
    rules = load_rules(None).by_name
    quality, latency = rules["quality-degraded"], rules["latency-high"]
    cost, errors = rules["cost-explosion"], rules["error-rate"]

    assert (quality.signal, quality.over_s) == (SignalName.QUALITY_SCORE, 3_600)
    assert [(s.name, s.after_s, s.act) for s in quality.ladder] == [
        ("investigate-prompts", 0, None),
        ("rollback", 4 * 3_600, ActionKind.ROLLBACK),
    ]
    assert (str(latency.condition), latency.for_s) == ("> 2", 900)
    # 15 minutes pending and 15 firing: 30 minutes since the P95 rose
    assert [(s.after_s, s.act) for s in latency.ladder] == [(0, None), (900, ActionKind.SCALE_UP)]
    assert (str(cost.condition), cost.over_s) == ("> 2", 3_600)
    assert [(s.name, s.after_s, str(s.when[0]), s.act) for s in cost.ladder] == [
        ("traffic-explains-it", 0, "detail.unexplained_ratio <= 1.5", None),
        ("traffic-does-not-explain-it", 0, "detail.unexplained_ratio > 1.5", None),
        ("rate-limit", 600, "detail.unexplained_ratio > 1.5", ActionKind.RATE_LIMIT),
    ]
    assert (str(errors.condition), errors.over_s) == ("> 0.01", 300)
    assert [(s.name, s.after_s, [str(w) for w in s.when], s.act) for s in errors.ladder] == [
        ("check-provider", 0, [], None),
        ("critical-level", 0, ["> 0.05"], None),
        ("rollback", 60, ["> 0.05"], ActionKind.ROLLBACK),
        ("fallback", 180, ["> 0.05"], ActionKind.FALLBACK),
    ]


@pytest.mark.parametrize(
    ("name", "condition", "severity"),
    [
        ("ttft-slow", "> 1", Severity.WARNING),
        ("ttft-critical", "> 3", Severity.CRITICAL),
        ("e2e-slow", "> 5", Severity.WARNING),
        ("e2e-critical", "> 10", Severity.CRITICAL),
        ("decode-slow", "< 15", Severity.WARNING),
        ("decode-critical", "< 5", Severity.CRITICAL),
        ("gpu-idle", "< 0.4", Severity.WARNING),
        ("gpu-saturated", "> 0.95", Severity.CRITICAL),
        ("speculation-poor", "< 0.7", Severity.INFO),
        ("input-drift", "> 0.2", Severity.WARNING),
        ("output-drift", "> 0.2", Severity.WARNING),
        ("feedback-poor", "< 0.6", Severity.WARNING),
        ("price-unknown", "> 0", Severity.INFO),
        ("watermark-late", "> 60", Severity.ERROR),
    ],
)
def test_the_default_levels_tell_people_and_act_on_nothing(
    name: str, condition: str, severity: Severity
) -> None:
    rule = load_rules(None).by_name[name]
    assert (str(rule.condition), rule.severity) == (condition, severity)
    assert all(step.act is None for step in rule.ladder)


@pytest.mark.parametrize("rule", load_rules(None).rules, ids=lambda rule: rule.name)
def test_every_default_rule_fires_pages_and_resolves(rule: Any) -> None:
    drive = Drive(rule)
    bad = rule.condition.threshold * (2 if rule.condition.op == ">" else 0.5) or 0.5
    good = 0.0 if rule.condition.op == ">" else rule.condition.threshold * 2
    drive.run(0, int(rule.for_s) + 31, bad, every=30)
    assert drive.phase == "firing"
    drive.run(int(rule.for_s) + 60, int(rule.for_s + rule.keep_firing_for_s) + 200, good, every=30)
    assert drive.phase == "resolved"
    first, last = drive.intents[0], drive.intents[-1]
    assert first.event == "trigger"
    assert last.event == "resolve"
    assert "{" not in f"{first.title} {first.description} {last.title}"


def test_queries_name_each_signal_once() -> None:
    queries = load_rules(None).queries()
    assert SignalQuery(SignalName.TTFT_P95, 300.0, ("model", "model_version")) in queries
    assert len([q for q in queries if q.signal is SignalName.TTFT_P95]) == 1


def test_scaled_rules_divide_every_duration() -> None:
    rules = load_rules(None)
    assert rules.by_name["error-rate"].over_s == 300
    fast = rules.scaled(60)
    errors = fast.by_name["error-rate"]
    assert (errors.over_s, errors.keep_firing_for_s) == (5, 2)
    assert [(s.after_s, s.verify_within_s) for s in errors.ladder] == [
        (0, None),
        (0, None),
        (1, 10),
        (3, 10),
    ]
    assert errors.condition.threshold == 0.01
    assert {q.over_s for q in fast.queries()} == {0, 5, 15, 60}
    with pytest.raises(ValueError, match="above zero"):
        fast.scaled(0)


def test_a_rule_matches_its_signal_its_labels_and_its_scope() -> None:
    rule = rule_of(scope=["model=~llama.*", "model_version!=v1"])
    signal = Drive(rule).signal(0, 0.5)
    assert rule.matches(signal)
    assert not rule.matches(signal.model_copy(update={"over_s": 300.0}))
    assert not rule.matches(signal.model_copy(update={"labels": {**LABELS, "model_version": "v1"}}))
    assert not rule.matches(signal.model_copy(update={"labels": {**LABELS, "model": "xllama"}}))
    assert not rule.matches(signal.model_copy(update={"labels": {"model": "llama"}}))
    assert RuleSet(version=1, rules=(rule,)).for_signal(signal) == (rule,)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"signal": "eror_rate"}, "signal: no signal 'eror_rate' (did you mean 'error_rate'?)"),
        ({"by": ["model", "colour"]}, "by: no label 'colour'"),
        ({"by": ["model", "model"]}, "twice"),
        ({"over": "0s"}, "over: expected more than 0s"),
        ({"over": "5"}, "over: '5' is no duration; write it as 30s"),
        ({"over": 300}, "over: 300 is no duration"),
        ({"over": "400d"}, "longer than a year"),
        ({"for": "-5m"}, "for: '-5m' is negative; a duration is 0s or longer"),
        ({"condition": "= 3"}, "condition: '= 3' is no condition"),
        ({"condition": "> nan"}, "no condition"),
        ({"condition": "> 1e999"}, "no condition"),
        ({"condition": "> 3 furlongs"}, "condition: '> 3 furlongs': no unit 'furlongs'; known"),
        ({"condition": "> 300 ms"}, "condition: error_rate has the unit ratio, not ms"),
        ({"condition": "detail.x > 3"}, "'detail' is for 'when'"),
        ({"severity": "loud"}, "severity: Input should be 'info'"),
        ({"summary": "{colour}"}, "summary: the template names {colour}; known here are"),
        ({"summary": "{value.__class__}"}, "summary: the template names {value.__class__}"),
        ({"summary": "{value!r}"}, "format"),
        ({"summary": "{value:{samples}}"}, "format"),
        ({"summary": "{value:99999}"}, "format"),
        ({"summary": "{model:.1f}"}, "as a number, but it is a text"),
        ({"summary": "{value:d}"}, "integer"),
        ({"summary": "{value"}, "does not render"),
        ({"description": "{no}"}, "description: the template names {no}"),
        ({"runbook": "somewhere"}, "runbook: 'somewhere' is neither a URL nor a path"),
        ({"name": "Error Rate"}, "name: 'Error Rate' is no name"),
        ({"min_samples": -1}, "min_samples: Input should be greater than or equal to 0"),
        ({"fro": "1m"}, "fro: Extra inputs are not permitted"),
        ({"scope": ["route=canary"]}, "speaks of a label that 'by' lacks"),
        ({"scope": ["model"]}, "scope[1]: 'model' is no matcher"),
        ({"scope": ["model=~("]}, "no regular expression"),
        ({"ladder": [{**STEP, "act": "reboot"}]}, "ladder[1].act: Input should be 'rollback'"),
        ({"ladder": [{**STEP, "act": "undo"}]}, "ladder[1]: 'act: undo' is no step"),
        ({"ladder": [{**STEP, "notify": "x"}]}, "expected either 'notify' (a text) or 'act'"),
        ({"ladder": [{"name": "a", "after": "0s"}]}, "expected either 'notify'"),
        ({"ladder": [{"name": "a", "notify": "x"}]}, "ladder[1].after: Field required"),
        ({"ladder": [{k: v for k, v in STEP.items() if k != "verify_within"}]},
         "expected 'verify_within'"),
        ({"ladder": [{**STEP, "verify_within": "1m"}]}, "must be longer than 'over' (1m)"),
        ({"ladder": [{**STEP, "verify_within": "2d"}]}, "longer than a day"),
        ({"ladder": [{**STEP, "when": "< 0.5%"}]}, "unreachable: < 0.005 never holds"),
        ({"ladder": [STEP, STEP]}, "a step of that name stands before it"),
        ({"ladder": [STEP, {**STEP, "name": "b", "after": "1s"}]},
         "'after' is shorter than that of the step before it"),
        ({"ladder": [{"name": "a", "after": "0s", "notify": "x", "verify_within": "1m"}]},
         "'verify_within' belongs to a step that acts"),
    ],
)  # fmt: skip
def test_a_fault_is_told_by_file_line_rule_key_and_expectation(
    changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(RulesError) as caught:
        rule_of(**changes)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("test:")
    assert " rule '" in str(caught.value)


def test_the_line_of_a_fault_is_the_line_of_its_key(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "version: 1\n"
        "rules:\n"
        "  - name: a\n"
        "    signal: error_rate\n"
        "    over: 5m\n"
        "    condition: '> 1%'\n"
        "    severity: error\n"
        "    summary: s\n"
        "    runbook: docs/a.md\n"
        "    ladder:\n"
        "      - name: x\n"
        "        after: soon\n"
        "        notify: n\n"
    )
    with pytest.raises(RulesError) as caught:
        load_rules(path)
    assert str(caught.value).startswith(f"{path}:12: rule 'a': ladder[1].after: 'soon' is no")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("team", "{owner}", "the template names {owner}; known here are baseline, model,"),
        ("team", "{value:x}", "the template's format {value:x} is not one such as {value:.1%}"),
        ("team", "{model", "the template does not render"),
        ("team", "{model:.1%}", "formats {model} as a number, but it is a text"),
        ("team", "{labels.model}", "the template names {labels.model}"),
        ("Team", "x", "'Team' is no name; use lower case, digits, underscores: team"),
        ("sql", "x", "'sql' is said by every page already; use another name"),
        ("model", "x", "'model' is said by every page already; use another name"),
    ],
)
def test_an_annotation_that_does_not_render_is_told_by_file_line_and_what_was_expected(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / "rules.yaml"
    data = {**BASE, "annotations": {"page": "{model_version} {value:.1%}", name: text}}
    path.write_text(yaml.safe_dump({"version": 1, "rules": [data]}, sort_keys=False))
    lines = path.read_text().splitlines()
    line = next(n for n, one in enumerate(lines, 1) if one.strip().startswith(f"{name}:"))
    with pytest.raises(RulesError) as caught:
        load_rules(path)
    place = f"{path}:{line}: rule 'error-rate': annotations.{name}: "
    assert str(caught.value).startswith(place)
    assert said in str(caught.value)


def test_every_fault_of_a_file_is_told_at_once() -> None:
    with pytest.raises(RulesError) as caught:
        rule_of(signal="x", severity="y", over="z")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a mapping"),
        ("[1, 2]", "expected a mapping"),
        ("version: 1\nrules: [", "test:2: not YAML"),
        ("version: 2\nrules: []", "test:1: version: Input should be 1"),
        ("version: 1", "rules: Field required"),
        ("version: 1\nrules: []\nrules: []", "test:3: rules: written twice"),
        ("version: 1\nrules: &a [*a]", "rule number 1"),
        ("version: 1\nrules: 2026-02-31", "not YAML"),
        ("version: 1\nrules: [!!python/object:os.system {}]", "not YAML"),
    ],
)
def test_a_broken_file_is_refused(text: str, expected: str) -> None:
    with pytest.raises(RulesError) as caught:
        parse_rules(text, "test")
    assert expected in str(caught.value)


def test_two_rules_of_one_name_are_refused() -> None:
    rule = {**BASE, "ladder": LADDER}
    with pytest.raises(RulesError, match="two rules are named 'error-rate'"):
        parse_rules(yaml.safe_dump({"version": 1, "rules": [rule, rule]}), "test")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="cannot be read"):
        load_rules(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"version: \xff")
    with pytest.raises(RulesError, match="not UTF-8"):
        load_rules(tmp_path / "latin.yaml")


DOCS = Path(__file__).parents[3] / "docs" / "alerting.md"


def test_the_example_of_the_documentation_is_a_rules_file() -> None:
    text = DOCS.read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    (rule,) = parse_rules(example, "docs/alerting.md").rules
    assert [step.name for step in rule.ladder] == ["check-provider", "rollback", "fallback"]


def test_every_runbook_of_the_default_rules_is_written() -> None:
    headings = {
        line.removeprefix("## ").lower().replace(":", "").replace(" ", "-")
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    }
    for rule in load_rules(None).rules:
        path, anchor = rule.runbook.split("#")
        assert path == "docs/alerting.md"
        assert anchor in headings
