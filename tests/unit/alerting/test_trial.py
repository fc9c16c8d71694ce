"""Unit tests of rules: what passes, what fails and how that is told, what a wrong file is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from alerting.errors import RulesError
from alerting.rules.series import parse_series
from alerting.rules.trial import Trial, load_cases, run_cases
from tests.unit.alerting.drive import BASE, LABELS, LADDER
from tocsin.cli.main import app

RULES = yaml.safe_dump({"version": 1, "rules": [{**BASE, "ladder": LADDER}]})
DOCS = Path(__file__).parents[3] / "docs" / "rule-tests.md"
CASE: dict[str, Any] = {
    "name": "fires",
    "series": [{"rule": "error-rate", "labels": LABELS, "values": "0x2 0.02x5 0x5"}],
    "expect": [
        {"at": "30s", "rule": "error-rate", "to": "firing"},
        {"at": "90s", "rule": "error-rate", "to": "resolved", "labels": {"model": "llama"}},
    ],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path / "rules.test.yaml"


def trial_of(file: Path, **changes: Any) -> Trial:
    text = yaml.safe_dump({"version": 1, "rules": "rules.yaml", "tests": [{**CASE, **changes}]})
    file.write_text(text)
    (trial,) = run_cases(*load_cases(file))
    return trial


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.2", [0.2]),
        (3, [3.0]),
        ("1x2", [1.0, 1.0, 1.0]),
        ("1+0.5x3", [1.0, 1.5, 2.0, 2.5]),
        ("4-1x2", [4.0, 3.0, 2.0]),
        ("_ 1 _x2", [None, 1.0, None, None]),
        ("", []),
    ],
)
def test_series_are_written_as_in_prometheus(text: str | float, values: list[Any]) -> None:
    assert parse_series(text) == values


@pytest.mark.parametrize("text", ["a", "1x", "x3", "_+1x3", "1+2", "1 x3", "1x999999"])
def test_other_texts_are_no_series(text: str) -> None:
    with pytest.raises(ValueError, match=r"no part of a series|is longer"):
        parse_series(text)


def test_what_happens_as_expected_passes(file: Path) -> None:
    assert trial_of(file).passed


@pytest.mark.parametrize(
    ("expect", "told"),
    [
        ([], ["got 30s error-rate{model=llama,model_version=v2,provider=vllm}"
              " -> firing (error_rate > 0.01 over 1m)", "expected nothing more, got 1m30s"]),
        ([{**CASE["expect"][0], "at": "20s"}, CASE["expect"][1]], ["expected 20s error-rate{}"]),
        ([{**CASE["expect"][0], "to": "pending"}, CASE["expect"][1]], ["-> pending, got 30s"]),
        ([{**CASE["expect"][0], "labels": {"model": "x"}}, CASE["expect"][1]], ["{model=x}"]),
        ([{**CASE["expect"][0], "act": "rollback"}, CASE["expect"][1]], ["act rollback, got 30s"]),
        ([*CASE["expect"], {"at": "5m", "rule": "error-rate", "to": "firing"}],
         ["expected 5m error-rate{} -> firing, got nothing more"]),
    ],
)  # fmt: skip
def test_each_difference_is_told(file: Path, expect: list[Any], told: list[str]) -> None:
    trial = trial_of(file, expect=expect)
    assert len(trial.differences) == len(told)
    for difference, text in zip(trial.differences, told, strict=True):
        assert text in difference


def test_actions_answers_and_lag_are_part_of_it(file: Path) -> None:
    series = [{"rule": "error-rate", "labels": LABELS, "values": "0.2x40"}]
    expect = [
        {"at": "0s", "rule": "error-rate", "to": "firing"},
        {"at": "1m", "rule": "error-rate", "to": "escalated", "act": "rollback"},
        {"at": "1m", "rule": "error-rate", "to": "escalated", "step": "rollback"},
        {"at": "3m", "rule": "error-rate", "to": "escalated", "act": "fallback"},
        {"at": "3m", "rule": "error-rate", "to": "escalated", "step": "fallback"},
    ]
    assert trial_of(file, series=series, expect=expect, answers={"rollback": "refused"}).passed
    held = trial_of(file, series=series, expect=[], lag="90x50")
    assert [d for d in held.differences if "firing" in d] == [held.differences[0]]
    assert len(held.differences) == 1  # the first evaluation ends before its lag is known


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"series": [{**CASE["series"][0], "rule": "eror"}]}, "no rule 'eror'; there are error"),
        ({"series": [{**CASE["series"][0], "labels": {}}]},
         "expected the labels provider, model, model_version, got (none)"),
        ({"series": [{**CASE["series"][0], "values": "1y2"}]},
         "test 'fires': series[1].values: '1y2' is no part of a series"),
        ({"answers": {"reboot": "applied"}}, "answers: no step 'reboot' acts; there are fallback"),
        ({"answers": {"rollback": "perhaps"}}, "answers.rollback: Input should be 'applied'"),
        ({"expect": [{"at": "soon", "rule": "x", "to": "firing"}]}, "expect[1].at: 'soon' is no"),
        ({"expect": [{"at": "1s", "rule": "error-rate", "to": "asleep"}]}, "expect[1].to: Input"),
        ({"series": []}, "series: Tuple should have at least 1 item"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_by_test_and_key(
    file: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(RulesError) as caught:
        trial_of(file, **changes)
    assert told in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_the_command_exits_by_what_it_finds(file: Path) -> None:
    trial_of(file)
    assert CliRunner().invoke(app, ["rules", "test", str(file)]).exit_code == 0
    trial_of(file, expect=[])
    failed = CliRunner().invoke(app, ["rules", "test", str(file)])
    assert failed.exit_code == 1
    assert "FAIL" in failed.output
    file.write_text("version: 7")
    assert CliRunner().invoke(app, ["rules", "test", str(file)]).exit_code == 2


def test_the_example_of_the_documentation_passes(tmp_path: Path) -> None:
    example = DOCS.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    shipped = Path(__file__).parents[3] / "alerting/rules/default.yaml"
    (tmp_path / "rules.yaml").write_text(shipped.read_text(encoding="utf-8"))
    (tmp_path / "test.yaml").write_text(example)
    (trial,) = run_cases(*load_cases(tmp_path / "test.yaml"))
    assert trial.differences == ()


APPROVED: dict[str, Any] = {
    "name": "rollback waits for a yes",
    "series": [{"rule": "error-rate", "labels": LABELS, "values": "0.2x12 0x5"}],
    "answers": {"rollback": "applied"},
    "approvals": {"rollback": {"approve": True, "after": "20s"}},
    "expect": [
        {"at": "0s", "rule": "error-rate", "to": "firing"},
        {"at": "1m", "rule": "error-rate", "to": "escalated", "step": "rollback"},
        {"at": "1m", "rule": "error-rate", "to": "escalated", "step": "rollback"},
        {
            "at": "80s",
            "rule": "error-rate",
            "to": "escalated",
            "step": "rollback",
            "act": "rollback",
        },
        {"at": "80s", "rule": "error-rate", "to": "verifying", "step": "rollback"},
        {"at": "140s", "rule": "error-rate", "to": "verifying", "step": "rollback"},  # it helped
    ],
}


def approving(file: Path, **changes: Any) -> Trial:
    ladder = [{**LADDER[1], "approval": "required", "approve_within": "30s"}]
    rules = {"version": 1, "rules": [{**BASE, "ladder": ladder, "keep_firing_for": "10m"}]}
    (file.parent / "rules.yaml").write_text(yaml.safe_dump(rules))
    return trial_of(file, **{**APPROVED, **changes})


def test_approvals_are_part_of_a_test(file: Path) -> None:
    assert approving(file).differences == ()


def test_without_an_approval_the_proposal_expires(file: Path) -> None:
    expect = [
        *APPROVED["expect"][:3],
        {"at": "90s", "rule": "error-rate", "to": "escalated", "step": "rollback"},
    ]
    assert approving(file, approvals={}, expect=expect).differences == ()
    late = {"rollback": {"approve": True, "after": "31s"}}
    assert approving(file, approvals=late, expect=expect).differences == ()


def test_a_rejection_ends_it(file: Path) -> None:
    rejected = {"rollback": {"approve": False, "after": "20s"}}
    expect = [
        *APPROVED["expect"][:3],
        {"at": "80s", "rule": "error-rate", "to": "escalated", "step": "rollback"},
    ]
    assert approving(file, approvals=rejected, expect=expect).differences == ()


def test_an_approval_of_what_needs_none_is_refused(file: Path) -> None:
    (file.parent / "rules.yaml").write_text(RULES)
    with pytest.raises(RulesError, match="approvals: no step 'rollback' needs approval; there is"):
        trial_of(file, approvals={"rollback": {"approve": True}})
