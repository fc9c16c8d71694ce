"""What differs between two rules files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from alerting.rules import RuleSet, parse_rules
from alerting.rules.diff import diff_rules
from tests.unit.alerting.drive import BASE, LADDER
from tocsin.cli.main import app


def rules_of(**changes: Any) -> RuleSet:
    rule = {**BASE, "ladder": LADDER, **changes}
    return parse_rules(yaml.safe_dump({"version": 1, "rules": [rule]}), "test")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"condition": "> 2%"}, "~ rule error-rate: condition: > 0.01 -> > 0.02"),
        ({"for": "5m"}, "~ rule error-rate: for: 0s -> 5m"),
        ({"scope": ["model=a"]}, "~ rule error-rate: scope: [] -> [model=a]"),
        ({"severity": "critical"}, "~ rule error-rate: severity: error -> critical"),
        ({"ladder": LADDER[:2]},
         "~ rule error-rate: ladder: fallback: fallback (act: fallback, when > 0.05) -> gone"),
        ({"ladder": [*LADDER, {"name": "call", "after": "4m", "notify": "x"}]},
         "~ rule error-rate: ladder: call: none -> call (tell people) after 4m"),
        ({"ladder": [LADDER[0], {**LADDER[1], "after": "2m"}, LADDER[2]]},
         "~ rule error-rate: ladder: rollback: after: 1m -> 2m"),
        ({"ladder": [LADDER[0], {**LADDER[1], "when": "> 9%"}, LADDER[2]]},
         "~ rule error-rate: ladder: rollback: when: [> 0.05] -> [> 0.09]"),
    ],
)  # fmt: skip
def test_a_change_is_told_with_both_values(changes: dict[str, Any], line: str) -> None:
    assert diff_rules(rules_of(), rules_of(**changes)) == (line,)


def test_rules_that_come_and_go_are_told() -> None:
    lines = diff_rules(rules_of(), rules_of(name="failures"))
    assert lines == ("- rule error-rate", "+ rule failures")


def test_equal_rules_do_not_differ() -> None:
    assert diff_rules(rules_of(), rules_of(condition="> 0.01")) == ()
    assert diff_rules(rules_of(), rules_of()) == ()


def test_the_command_exits_by_what_it_finds(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    rule = {**BASE, "ladder": LADDER}
    mine.write_text(yaml.safe_dump({"version": 1, "rules": [rule]}))
    changed = CliRunner().invoke(app, ["rules", "diff", "-", str(mine)])
    assert changed.exit_code == 1
    assert "- rule latency-high" in changed.output
    assert CliRunner().invoke(app, ["rules", "diff", str(mine), str(mine)]).exit_code == 0
    mine.write_text("version: 7")
    assert CliRunner().invoke(app, ["rules", "diff", str(mine), "-"]).exit_code == 2
