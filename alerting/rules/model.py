"""One rule: when to alert about which series, and what follows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from alerting.rules.annotation import check_annotation_name
from alerting.rules.climbable import check_ladder
from alerting.rules.condition import ConditionText
from alerting.rules.damping import Damping
from alerting.rules.duration import format_duration
from alerting.rules.fault import RuleFault
from alerting.rules.kind import RuleKind, resolve_kind, unknown_name
from alerting.rules.labels import LABELS
from alerting.rules.scope import ScopeMatcher
from alerting.rules.share import ShareText
from alerting.rules.step import Data, DurationText, RuleName, Step, Text, check_name
from alerting.rules.template import NUMBERS, check_template, render_template
from schemas.action import ActionKind, ActionMode
from schemas.alert import Severity
from schemas.base import Labels
from schemas.signal import SIGNALS, Signal, SignalName, SignalQuery

__all__ = ["Rule"]

_INSTANT: Final = frozenset({SignalName.WATERMARK_LAG})


def _signal(value: object) -> object:
    if isinstance(value, str) and value not in set(SignalName):
        raise ValueError(unknown_name("signal", value, SIGNALS))
    return value


class Rule(Data):
    """When to alert about which series, and what follows.

    All durations are event time in seconds. A rule holds for each series of ``signal`` over
    ``over_s`` by the labels ``by`` that ``scope`` matches. ``signal`` is what is compared with
    ``condition``: the quantity that the file names, or what the rule's kind makes of it
    (``alerting/rules/kind.py``).
    """

    name: RuleName
    kind: RuleKind = RuleKind.THRESHOLD
    signal: Annotated[SignalName, BeforeValidator(_signal)]
    detector: str | None = None
    objective: ShareText | None = None
    short_s: DurationText | None = Field(default=None, alias="short")
    over_s: DurationText = Field(alias="over")
    by: tuple[str, ...] = ()
    scope: tuple[ScopeMatcher, ...] = ()
    condition: ConditionText
    for_s: DurationText = Field(default=0.0, alias="for")
    keep_firing_for_s: DurationText = Field(default=0.0, alias="keep_firing_for")
    damp: Damping = Damping()
    min_samples: Annotated[int, Field(ge=0)] = 1
    severity: Severity
    summary: Text
    description: Text | None = None
    annotations: dict[str, Text] = Field(default_factory=dict)
    runbook: Annotated[str, Field(min_length=1, max_length=500)]
    ladder: tuple[Step, ...] = ()

    _check_name = field_validator("name")(check_name)

    @model_validator(mode="before")
    @classmethod
    def _resolve_kind(cls, data: Any) -> Any:
        return resolve_kind(data) if isinstance(data, dict) else data

    @field_validator("by")
    @classmethod
    def _known_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for label in value:
            if label not in LABELS:
                raise ValueError(unknown_name("label", label, LABELS))
        if len(set(value)) != len(value):
            raise ValueError("a label is named twice")
        return value

    @field_validator("runbook")
    @classmethod
    def _runbook(cls, value: str) -> str:
        if not re.fullmatch(r"https?://\S+|docs/\S+", value):
            raise ValueError(f"{value!r} is neither a URL nor a path under docs/")
        return value

    @field_validator("annotations")
    @classmethod
    def _annotations(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            try:
                check_annotation_name(name)
            except ValueError as error:
                raise RuleFault(name, expected=str(error)) from None
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.condition.detail is not None:
            raise RuleFault(
                "condition", expected="a rule judges the signal's value; 'detail' is for 'when'"
            )
        unit = SIGNALS[self.signal].unit
        if not self.condition.fits(unit):
            raise RuleFault(
                "condition",
                expected=f"{self.signal} has the unit {unit}, not {self.condition.unit}",
            )
        if self.over_s == 0 and self.signal not in _INSTANT:
            raise RuleFault("over", expected=f"expected more than 0s for the signal {self.signal}")
        if self.short_s is not None and not 0 < self.short_s < self.over_s:
            raise RuleFault(
                "short",
                expected=f"expected more than 0s and less than {format_duration(self.over_s)}",
            )
        allowed = SIGNALS[self.signal].labels
        if allowed is not None and (strange := sorted(set(self.by) - allowed)):
            known = ", ".join(sorted(allowed)) or "no labels"
            raise RuleFault(
                "by", expected=f"{self.signal} is told by {known}, not by {', '.join(strange)}"
            )
        for index, matcher in enumerate(self.scope):
            if matcher.label not in self.by:
                raise RuleFault(
                    "scope", index, expected=f"{str(matcher)!r} speaks of a label that 'by' lacks"
                )
        self._check_templates()
        check_ladder(
            self.ladder,
            self.condition,
            self.over_s,
            SIGNALS[self.signal],
            may_act=self.kind is not RuleKind.ABSENCE,
        )
        return self

    def _check_templates(self) -> None:
        known = {*NUMBERS, "rule", "over", *self.by}
        texts: list[tuple[tuple[str, ...], str | None]] = [
            (("summary",), self.summary),
            (("description",), self.description),
            *((("annotations", name), text) for name, text in self.annotations.items()),
        ]
        for path, text in texts:
            if text is not None:
                try:
                    check_template(text, known)
                except ValueError as error:
                    raise RuleFault(*path, expected=str(error)) from None

    @property
    def query(self) -> SignalQuery:
        """Return the signal that the rule needs."""
        return SignalQuery(
            self.signal, self.over_s, self.by, self.short_s or 0.0, self.objective or 0.0
        )

    @property
    def expected_labels(self) -> Labels | None:
        """Return the one series that a rule on absence expects though nobody ever heard of it.

        That is the series of a rule that pins every label of ``by`` with ``=``, or has none. None
        for all others: of a series that is not named, only its falling silent can be told.
        """
        if self.kind is not RuleKind.ABSENCE:
            return None
        pinned = {m.label: m.value for m in self.scope if m.op == "="}
        if pinned.keys() != set(self.by) or not all(m.matches(pinned) for m in self.scope):
            return None
        return pinned

    def matches(self, signal: Signal) -> bool:
        """Tell whether a signal is one that the rule judges."""
        return (
            signal.signal == self.signal
            and math.isclose(signal.over_s, self.over_s, rel_tol=1e-6, abs_tol=1e-9)
            and self.speaks_of(signal.labels)
        )

    def speaks_of(self, labels: Labels) -> bool:
        """Tell whether a series is one of the rule's."""
        return labels.keys() == set(self.by) and all(m.matches(labels) for m in self.scope)

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

    def render_annotations(
        self, labels: Labels, value: float | None, baseline: float | None, samples: int
    ) -> dict[str, str]:
        """Render every annotation, by name."""
        return {
            name: self.render(text, labels, value, baseline, samples)
            for name, text in self.annotations.items()
        }

    def restrained(self, modes: Mapping[ActionKind, ActionMode]) -> Rule:
        """Return the rule with each action's approval at least as strict as its kind's mode."""
        return self.model_copy(
            update={"ladder": tuple(step.restrained(modes) for step in self.ladder)}
        )

    def scaled(self, factor: float) -> Rule:
        """Return the rule with every duration divided by a factor."""
        return self.model_copy(
            update={
                "over_s": self.over_s / factor,
                "short_s": self.short_s / factor if self.short_s is not None else None,
                "for_s": self.for_s / factor,
                "keep_firing_for_s": self.keep_firing_for_s / factor,
                "damp": self.damp.scaled(factor),
                "ladder": tuple(step.scaled(factor) for step in self.ladder),
            }
        )
