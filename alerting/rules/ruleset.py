"""The rules in force, all together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Literal, Self

from pydantic import model_validator

from alerting.rules.fault import RuleFault
from alerting.rules.inhibition import Inhibition
from alerting.rules.kind import RuleKind
from alerting.rules.model import Rule
from alerting.rules.step import Data
from schemas.action import ActionKind, ActionMode
from schemas.signal import Signal, SignalName, SignalQuery

__all__ = ["RuleSet"]


class RuleSet(Data):
    """The rules in force."""

    version: Literal[1]
    rules: tuple[Rule, ...]
    inhibitions: tuple[Inhibition, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for what, names in (
            ("rules", [rule.name for rule in self.rules]),
            ("inhibitions", [inhibition.name for inhibition in self.inhibitions]),
        ):
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"two {what} are named {name!r}")
        return self

    @model_validator(mode="after")
    def _inhibitions_speak_of_rules(self) -> Self:
        for place, inhibition in enumerate(self.inhibitions):
            for side in ("source_matchers", "target_matchers"):
                for matcher in getattr(inhibition, side):
                    if matcher.label == "rule" and not any(
                        matcher.matches({"rule": rule.name}) for rule in self.rules
                    ):
                        raise RuleFault(
                            "inhibitions",
                            place,
                            side,
                            expected=f"{str(matcher)!r} matches no rule of this file",
                        )
        return self

    @model_validator(mode="after")
    def _one_budget_a_lookback(self) -> Self:
        seen: dict[tuple[SignalName, float, tuple[str, ...]], Rule] = {}
        for place, rule in enumerate(self.rules):
            if rule.kind is not RuleKind.BURN_RATE:
                continue
            first = seen.setdefault((rule.signal, rule.over_s, tuple(sorted(rule.by))), rule)
            if first.query != rule.query:
                raise RuleFault(
                    "rules",
                    place,
                    "over",
                    expected=f"{rule.name!r} and {first.name!r} have the same long lookback and "
                    "labels, so they need the same 'short', 'objective' and order of labels",
                )
        return self

    @cached_property
    def by_name(self) -> dict[str, Rule]:
        """Return the rules by their names."""
        return {rule.name: rule for rule in self.rules}

    def queries(self) -> frozenset[SignalQuery]:
        """Return every signal that some rule needs."""
        return frozenset(rule.query for rule in self.rules)

    def for_signal(self, signal: Signal) -> tuple[Rule, ...]:
        """Return the rules that judge a signal."""
        return tuple(rule for rule in self.rules if rule.matches(signal))

    def restrained(self, modes: Mapping[ActionKind, ActionMode]) -> RuleSet:
        """Return the rules with each action's approval at least as strict as its kind's mode."""
        if not modes:
            return self
        return self.model_copy(
            update={"rules": tuple(rule.restrained(modes) for rule in self.rules)}
        )

    def scaled(self, factor: float) -> RuleSet:
        """Return the rules with every duration divided by a factor: a rehearsal in fast motion.

        Raises:
            ValueError: the factor is not above zero.
        """
        if not (factor > 0 and math.isfinite(factor)):
            raise ValueError(f"expected a factor above zero, got {factor}")
        return RuleSet(
            version=1,
            rules=tuple(rule.scaled(factor) for rule in self.rules),
            inhibitions=self.inhibitions,
        )
