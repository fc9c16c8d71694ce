"""Inhibition: what mutes what, and what a rules file may not say."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from alerting.errors import RulesError
from alerting.rules import Inhibition, RuleSet, parse_rules
from tests.unit.alerting.drive import BASE

CRITICAL = {"rule": "error-rate", "severity": "critical", "model": "llama", "model_version": "v2"}
WARNING = {"rule": "ttft-slow", "severity": "warning", "model": "llama", "model_version": "v2"}


def rules_with(**changes: Any) -> RuleSet:
    inhibition = {
        "name": "errors-over-latency",
        "source_matchers": ["rule=error-rate", "severity=critical"],
        "target_matchers": ["severity=~warning|info"],
        "equal": ["model"],
        **changes,
    }
    data = {"version": 1, "rules": [BASE], "inhibitions": [inhibition]}
    return parse_rules(yaml.safe_dump(data, sort_keys=False), "test")


def only(**changes: Any) -> Inhibition:
    (inhibition,) = rules_with(**changes).inhibitions
    return inhibition


def test_an_open_source_mutes_its_targets_of_the_same_model() -> None:
    inhibition = only()
    assert inhibition.mutes(CRITICAL, WARNING)
    assert not inhibition.mutes(CRITICAL, {**WARNING, "model": "mistral"})
    assert not inhibition.mutes(CRITICAL, {**WARNING, "severity": "error"})
    assert not inhibition.mutes({**CRITICAL, "rule": "slow"}, WARNING)
    assert not inhibition.mutes(WARNING, CRITICAL)


def test_a_label_that_both_lack_is_equal_and_one_that_one_lacks_is_not() -> None:
    inhibition = only(equal=["plan"])
    assert inhibition.mutes(CRITICAL, WARNING)
    assert not inhibition.mutes({**CRITICAL, "plan": "pro"}, WARNING)


def test_alerts_that_both_sides_match_do_not_mute_each_other() -> None:
    inhibition = only(
        source_matchers=["model=llama"], target_matchers=["severity=critical"], equal=[]
    )
    assert not inhibition.mutes(CRITICAL, CRITICAL)
    assert not inhibition.mutes(CRITICAL, {**CRITICAL, "model_version": "v3"})
    assert inhibition.mutes(WARNING, CRITICAL)
    assert inhibition.mutes(CRITICAL, {**CRITICAL, "model": "mistral"})


def test_rules_in_fast_motion_keep_their_inhibitions() -> None:
    rules = rules_with()
    assert rules.scaled(10).inhibitions == rules.inhibitions


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"source_matchers": []},
            "inhibitions[1].source_matchers: Tuple should have at least 1 item",
        ),
        (
            {"source_matchers": ["colour=red"]},
            "inhibitions[1].source_matchers: 'colour=red': no label 'colour'",
        ),
        ({"source_matchers": ["severity=loud"]}, "matches no severity; these are info, warning"),
        (
            {"source_matchers": ["rule=nobody"]},
            "source_matchers: 'rule=nobody' matches no rule of this file",
        ),
        (
            {"target_matchers": ["rule=~no.*"]},
            "target_matchers: 'rule=~no.*' matches no rule of this file",
        ),
        (
            {"target_matchers": ["severity"]},
            "inhibitions[1].target_matchers[1]: 'severity' is no matcher",
        ),
        ({"equal": ["severity"]}, "inhibitions[1].equal: no label 'severity'"),
        ({"equal": ["model", "model"]}, "a label is named twice"),
        (
            {"target_matchers": ["rule=error-rate", "severity=critical"]},
            "source_matchers and target_matchers are the same",
        ),
        ({"name": "A B"}, "'A B' is no name"),
        ({"since": "1h"}, "inhibitions[1].since: Extra inputs are not permitted"),
    ],
)
def test_a_fault_names_the_key_and_what_was_expected(
    changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(RulesError) as caught:
        rules_with(**changes)
    assert str(caught.value).startswith("test:")
    assert expected in str(caught.value)


def test_two_inhibitions_of_one_name_are_refused() -> None:
    data = rules_with().model_dump(mode="json", by_alias=True)
    data["rules"] = [BASE]
    data["inhibitions"] *= 2
    with pytest.raises(RulesError, match="two inhibitions are named"):
        parse_rules(yaml.safe_dump(data), "test")
