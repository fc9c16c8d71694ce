"""Conditions on a signal: ``> 0.05``, ``< 0.7``, ``detail.traffic_ratio < 1.5``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["Condition", "ConditionText"]

Op = Literal[">", ">=", "<", "<="]

_OPS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_SHAPE: Final = re.compile(
    r"\s*(?:(value|detail\.([A-Za-z_][A-Za-z0-9_]*))\s*)?(>=|<=|>|<)\s*(\S+?)\s*(%)?\s*"
)


class Condition(BaseModel):
    """A comparison of the signal's value, or of one of its details, with a threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    op: Op
    threshold: float
    detail: str | None = None

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Raises:
            ValueError: the text is no condition.
        """
        match = _SHAPE.fullmatch(text)
        threshold = _number(match[4]) if match is not None else None
        if match is None or threshold is None:
            raise ValueError(
                f"{text!r} is no condition; write it as '> 0.05', '> 5%', '< 15' "
                "or 'detail.traffic_ratio < 1.5'"
            )
        op: Any = match[3]
        return cls(op=op, threshold=threshold / (100 if match[5] else 1), detail=match[2])

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


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _parse(value: object) -> object:
    return Condition.parse(value) if isinstance(value, str) else value


ConditionText = Annotated[Condition, BeforeValidator(_parse)]
"""A condition written as text in a rules file."""
