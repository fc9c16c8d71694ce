"""One signal of one series over a stretch of time, in columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alerting.rules.model import Rule
from schemas.base import SCHEMA_VERSION, Labels
from schemas.signal import Signal, SignalQuery

__all__ = ["Floats", "Ints", "Series"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Series:
    """What a detector said of one series, or would have said.

    All arrays have the shape (n,). ``ends`` are the ends of windows in microseconds, ascending;
    NaN is unknown.
    """

    query: SignalQuery
    labels: Labels
    ends: Ints
    values: Floats
    samples: Ints
    baselines: Floats | None = None
    details: Mapping[str, Floats] = field(default_factory=dict)

    def bad(self, rule: Rule) -> NDArray[np.bool_]:
        """Return where the value is known and breaks the rule's threshold."""
        compare = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}
        with np.errstate(invalid="ignore"):  # comparisons with NaN are False, as they should be
            off = compare[rule.condition.op](self.values, rule.condition.threshold)
        result: NDArray[np.bool_] = off & self.known(rule)
        return result

    def known(self, rule: Rule) -> NDArray[np.bool_]:
        """Return where the value is known, with as many samples as the rule wants."""
        result: NDArray[np.bool_] = ~np.isnan(self.values) & (self.samples >= rule.min_samples)
        return result

    def signal(self, place: int) -> Signal:
        """Return what was said at one place."""
        value = float(self.values[place])
        baseline = float(self.baselines[place]) if self.baselines is not None else np.nan
        detail = {
            name: number
            for name, numbers in self.details.items()
            if not np.isnan(number := float(numbers[place]))
        }
        # Not validated: these are numbers of an array that was, millions of times.
        return Signal.model_construct(
            schema_version=SCHEMA_VERSION,
            signal=self.query.signal,
            labels=self.labels,
            over_s=self.query.over_s,
            window_end_us=int(self.ends[place]),
            value=None if np.isnan(value) else value,
            samples=int(self.samples[place]),
            baseline=None if np.isnan(baseline) else baseline,
            detector="backtest",
            detail=detail,
        )
