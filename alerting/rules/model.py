"""One rule: when to alert about which series, and what follows."""

from __future__ import annotations

import math
import re
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from alerting.rules.condition import ConditionText
from alerting.rules.duration import format_duration
from alerting.rules.labels import LABELS
from alerting.rules.scope import ScopeMatcher
from alerting.rules.step import Data, DurationText, RuleName, Step, Text, check_name
from alerting.rules.template import NUMBERS, check_template, render_template
from schemas.alert import Severity
from schemas.base import Labels
from schemas.signal import Signal, SignalName, SignalQuery

__all__ = ["Rule"]

_DAY_S: Final = 86_400
_INSTANT: Final = frozenset({SignalName.WATERMARK_LAG})


class Rule(Data):
    """When to alert about which series, and what follows.

    All durations are event time in seconds. A rule holds for each series of ``signal`` over
    ``over_s`` by the labels ``by`` that ``scope`` matches.
    """

    name: RuleName
    signal: SignalName
    over_s: DurationText = Field(alias="over")
    by: tuple[str, ...] = ()
    scope: tuple[ScopeMatcher, ...] = ()
    condition: ConditionText
    for_s: DurationText = Field(default=0.0, alias="for")
    keep_firing_for_s: DurationText = Field(default=0.0, alias="keep_firing_for")
    min_samples: Annotated[int, Field(ge=0)] = 1
    severity: Severity
    summary: Text
    description: Text | None = None
    runbook: Annotated[str, Field(min_length=1, max_length=500)]
    ladder: tuple[Step, ...] = ()

    _check_name = field_validator("name")(check_name)

    @field_validator("by")
    @classmethod
    def _known_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for label in value:
            if label not in LABELS:
                raise ValueError(f"no label {label!r}; known are {', '.join(sorted(LABELS))}")
        if len(set(value)) != len(value):
            raise ValueError("a label is named twice")
        return value

    @field_validator("runbook")
    @classmethod
    def _runbook(cls, value: str) -> str:
        if not re.fullmatch(r"https?://\S+|docs/\S+", value):
            raise ValueError(f"{value!r} is neither a URL nor a path under docs/")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.condition.detail is not None:
            raise ValueError("condition: a rule judges the signal's value; 'detail' is for 'when'")
        if self.over_s == 0 and self.signal not in _INSTANT:
            raise ValueError(f"over: expected more than 0s for the signal {self.signal}")
        for matcher in self.scope:
            if matcher.label not in self.by:
                raise ValueError(f"scope: {str(matcher)!r} speaks of a label that 'by' lacks")
        known = {*NUMBERS, "rule", "over", *self.by}
        for key in ("summary", "description"):
            if (text := getattr(self, key)) is not None:
                try:
                    check_template(text, known)
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from None
        self._check_ladder()
        return self

    def _check_ladder(self) -> None:
        before = 0.0
        names: set[str] = set()
        for step in self.ladder:
            where = f"ladder: step {step.name!r}:"
            if step.name in names:
                raise ValueError(f"{where} a step of that name stands before it")
            names.add(step.name)
            if step.after_s < before:
                raise ValueError(f"{where} 'after' is shorter than that of the step before it")
            before = step.after_s
            for condition in step.when:
                if condition.excludes(self.condition):
                    raise ValueError(
                        f"{where} unreachable: {condition} never holds while the alert fires "
                        f"({self.condition})"
                    )
            if step.verify_within_s is not None and step.verify_within_s > _DAY_S:
                raise ValueError(f"{where} 'verify_within' is longer than a day")
            if step.verify_within_s is not None and step.verify_within_s <= self.over_s:
                raise ValueError(
                    f"{where} 'verify_within' ({format_duration(step.verify_within_s)}) must be "
                    f"longer than 'over' ({format_duration(self.over_s)}): until then the value "
                    "still holds samples from before the action"
                )

    @property
    def query(self) -> SignalQuery:
        """Return the signal that the rule needs."""
        return SignalQuery(self.signal, self.over_s, self.by)

    def matches(self, signal: Signal) -> bool:
        """Tell whether a signal is one that the rule judges."""
        return (
            signal.signal == self.signal
            and math.isclose(signal.over_s, self.over_s, rel_tol=1e-6, abs_tol=1e-9)
            and signal.labels.keys() == set(self.by)
            and all(matcher.matches(signal.labels) for matcher in self.scope)
        )

    def step_named(self, name: str) -> Step | None:
        """Return a step by its name; None when the ladder has none such."""
        return next((step for step in self.ladder if step.name == name), None)

    def bad(self, value: float) -> bool:
        """Tell whether a known value breaks the rule's threshold."""
        return bool(self.condition.holds(value, {}))

    def render(
        self,
        text: str,
        labels: Labels,
        value: float | None,
        baseline: float | None,
        samples: int,
    ) -> str:
        """Render one of the rule's templates."""
        return render_template(
            text,
            {
                **labels,
                "rule": self.name,
                "over": format_duration(self.over_s),
                "value": value,
                "baseline": baseline,
                "threshold": self.condition.threshold,
                "samples": samples,
            },
        )

    def scaled(self, factor: float) -> Rule:
        """Return the rule with every duration divided by a factor."""
        return self.model_copy(
            update={
                "over_s": self.over_s / factor,
                "for_s": self.for_s / factor,
                "keep_firing_for_s": self.keep_firing_for_s / factor,
                "ladder": tuple(
                    step.model_copy(
                        update={
                            "after_s": step.after_s / factor,
                            "verify_within_s": step.verify_within_s / factor
                            if step.verify_within_s is not None
                            else None,
                        }
                    )
                    for step in self.ladder
                ),
            }
        )
