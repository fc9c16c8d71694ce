"""Rules as data: their model, and reading them from YAML."""

from __future__ import annotations

from alerting.rules.inhibition import Inhibition
from alerting.rules.load import load_rules, parse_rules, read_rules
from alerting.rules.model import Rule
from alerting.rules.ruleset import RuleSet
from alerting.rules.step import Step

__all__ = ["Inhibition", "Rule", "RuleSet", "Step", "load_rules", "parse_rules", "read_rules"]
