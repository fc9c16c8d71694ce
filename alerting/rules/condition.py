"""Conditions on a signal: ``> 5%``, ``> 500 ms``, ``< 0.7``, ``detail.traffic_ratio < 1.5``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["UNITS", "Condition", "ConditionText"]

Op = Literal[">", ">=", "<", "<="]

_OPS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}

UNITS: Final[dict[str, tuple[frozenset[str], float]]] = {
    "%": (frozenset({"ratio", "score"}), 0.01),
    "ms": (frozenset({"s"}), 0.001),
    **{
        unit: (frozenset({unit}), 1.0)
        for unit in (
            "s", "x", "1/s", "tokens/s", "USD/h", "requests", "scores", "samples", "sigma",
        )
    },
}  # fmt: skip
"""Units that a threshold may be written in: which units of signals each fits, and its factor."""

_SHAPE: Final = re.compile(
    r"\s*(?:(value|detail\.([A-Za-z_][A-Za-z0-9_]*))\s*)?(>=|<=|>|<)\s*"
    r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S+)?\s*"
)


class Condition(BaseModel):
    """A comparison of the signal's value, or of one of its details, with a threshold.

    ``threshold`` is in the signal's own unit; ``unit`` is what it was written in, if anything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    op: Op
    threshold: float
    detail: str | None = None
    unit: str | None = Field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Raises:
            ValueError: the text is no condition, or its unit is unknown.
        """
        match = _SHAPE.fullmatch(text)
        threshold = float(match[4]) if match is not None else math.nan
        if match is None or not math.isfinite(threshold):
            raise ValueError(
                f"{text!r} is no condition; write it as '> 0.05', '> 5%', '> 500 ms' "
                "or 'detail.traffic_ratio < 1.5'"
            )
        unit = match[5]
        if unit is not None and unit not in UNITS:
            raise ValueError(f"{text!r}: no unit {unit!r}; known are {', '.join(UNITS)}")
        op: Any = match[3]
        factor = UNITS[unit][1] if unit is not None else 1
        value = threshold / 100 if unit == "%" else threshold * factor
        return cls(op=op, threshold=value, detail=match[2], unit=unit)

    def fits(self, unit: str) -> bool:
        """Tell whether the threshold can be compared with a value of this unit."""
        return self.unit is None or unit in UNITS[self.unit][0]

    def holds(self, value: float | None, details: Mapping[str, float]) -> bool | None:
        """Tell whether the condition holds; None when what it speaks of is unknown."""
        subject = details.get(self.detail) if self.detail is not None else value
        if subject is None:
            return None
        return _OPS[self.op](subject, self.threshold)

    def excludes(self, other: Condition) -> bool:
        """Tell whether no value can fulfil both conditions."""
        if self.detail != other.detail or self.op[0] == other.op[0]:
            return False
        low, high = (self, other) if self.op[0] == ">" else (other, self)
        if low.threshold == high.threshold:
            return not (low.op == ">=" and high.op == "<=")
        return low.threshold > high.threshold

    def __str__(self) -> str:
        subject = f"detail.{self.detail} " if self.detail is not None else ""
        return f"{subject}{self.op} {self.threshold:g}"


def _parse(value: object) -> object:
    return Condition.parse(value) if isinstance(value, str) else value


ConditionText = Annotated[Condition, BeforeValidator(_parse)]
"""A condition written as text in a rules file."""
