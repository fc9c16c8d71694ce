"""Unit tests of rules as data: series of samples in, expected transitions out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from alerting.rules.duration import format_duration
from alerting.rules.series import parse_series
from alerting.rules.step import Data, DurationText
from schemas.action import ActionKind, ActionStatus
from schemas.alert import AlertPhase
from schemas.base import Labels

__all__ = ["Case", "CaseFile", "Expected", "Series", "Verdict"]

Values = Annotated[tuple[float | None, ...], BeforeValidator(lambda text: tuple(_values(text)))]


def _values(text: Any) -> Sequence[float | None]:
    if isinstance(text, str | int | float) and not isinstance(text, bool):
        return parse_series(text)
    if isinstance(text, tuple):
        return text
    raise ValueError(f"{text!r} is no series; write it as '0x30 0.2x12'")


class Series(Data):
    """What one rule's signal says of one series, a value at each interval from 0 on.

    ``samples`` is how many requests stand behind a value; a single one stands behind all. Every
    rule of the file that judges the same signal sees it, too. After its last value the series is
    silent.
    """

    rule: str
    labels: Labels = Field(default_factory=dict)
    values: Values
    samples: Values = (1_000.0,)
    detail: dict[str, Values] = Field(default_factory=dict)
    baseline: Values = ()


class Verdict(Data):
    """What people say of an action that waits for approval, so long after it was proposed."""

    approve: bool
    after: DurationText = 0.0


class Expected(Data):
    """One transition: what is left out may be anything."""

    at: DurationText
    rule: str
    to: AlertPhase
    labels: Labels = Field(default_factory=dict)
    step: str | None = None
    act: ActionKind | None = None

    def __str__(self) -> str:
        labels = ",".join(f"{k}={v}" for k, v in sorted(self.labels.items()))
        step = f" step {self.step}" if self.step else ""
        act = f" act {self.act}" if self.act else ""
        return f"{format_duration(self.at)} {self.rule}{{{labels}}} -> {self.to}{step}{act}"


class Case(Data):
    """One test: the series, how the executor answers, and every transition that must follow.

    ``expect`` lists all changes of phase and all steps taken, in order; one too many fails.
    ``lag`` is the watermark's, in seconds at each interval. ``approvals`` are people's, by step;
    what nobody decides on expires.
    """

    name: Annotated[str, Field(min_length=1)]
    interval: DurationText | None = None
    series: Annotated[tuple[Series, ...], Field(min_length=1)]
    lag: Values = (0.0,)
    answers: dict[str, ActionStatus] = Field(default_factory=dict)
    approvals: dict[str, Verdict] = Field(default_factory=dict)
    expect: tuple[Expected, ...]


class CaseFile(Data):
    """A file of tests; ``rules`` is a path from this file, or absent for the shipped rules."""

    version: Literal[1]
    rules: str | None = None
    interval: DurationText = 10.0
    tests: Annotated[tuple[Case, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique(self) -> CaseFile:
        names = [case.name for case in self.tests]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two tests are named {twice!r}")
        return self
