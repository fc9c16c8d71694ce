"""Inhibition as data: while one alert is open, others that follow from it tell nobody."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from alerting.rules.labels import ALERT_LABELS, LABELS
from alerting.rules.scope import Matcher, ScopeMatcher
from alerting.rules.step import Data, RuleName, check_name
from schemas.alert import Severity
from schemas.base import Labels

__all__ = ["Inhibition"]

_Matchers = Annotated[tuple[ScopeMatcher, ...], Field(min_length=1)]


class Inhibition(Data):
    """While an alert that fits ``source_matchers`` is open, those that fit the target are mute.

    The semantics are Alertmanager's. Matchers see the labels of the series together with ``rule``
    and ``severity``; a label that an alert lacks counts as empty. Source and target must have the
    same value for each label of ``equal``. An alert that both sides match is muted by none that
    both match, so that no alert mutes itself. It mutes people only: states, steps and actions go
    on.
    """

    name: RuleName
    source_matchers: _Matchers
    target_matchers: _Matchers
    equal: tuple[str, ...] = ()

    _check_name = field_validator("name")(check_name)

    @field_validator("source_matchers", "target_matchers")
    @classmethod
    def _known_labels(cls, value: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
        for matcher in value:
            if matcher.label not in ALERT_LABELS:
                raise ValueError(
                    f"{str(matcher)!r}: no label {matcher.label!r}; known are "
                    f"{', '.join(sorted(ALERT_LABELS))}"
                )
            if matcher.label == "severity" and not any(
                matcher.matches({"severity": severity}) for severity in Severity
            ):
                raise ValueError(
                    f"{str(matcher)!r} matches no severity; these are {', '.join(Severity)}"
                )
        return value

    @field_validator("equal")
    @classmethod
    def _known_equal(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for label in value:
            if label not in LABELS:
                raise ValueError(f"no label {label!r}; known are {', '.join(sorted(LABELS))}")
        if len(set(value)) != len(value):
            raise ValueError("a label is named twice")
        return value

    @model_validator(mode="after")
    def _two_sides(self) -> Self:
        if self.source_matchers == self.target_matchers:
            raise ValueError(
                "source_matchers and target_matchers are the same, so nothing would ever be muted"
            )
        return self

    def is_source(self, alert: Labels) -> bool:
        """Tell whether an open alert with these labels mutes others."""
        return all(matcher.matches(alert) for matcher in self.source_matchers)

    def is_target(self, alert: Labels) -> bool:
        """Tell whether an alert with these labels may be muted."""
        return all(matcher.matches(alert) for matcher in self.target_matchers)

    def mutes(self, source: Labels, target: Labels) -> bool:
        """Tell whether an open alert mutes another; both with ``rule`` and ``severity``."""
        if not (self.is_source(source) and self.is_target(target)):
            return False
        if self.is_target(source) and self.is_source(target):
            return False
        return all(source.get(label, "") == target.get(label, "") for label in self.equal)
