"""Series of sample values as text, in the notation of Prometheus' rule tests."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["parse_series"]

_NUMBER: Final = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PART: Final = re.compile(rf"({_NUMBER}|_)(?:([+-](?:\d+\.?\d*|\.\d+)))?(?:x(\d+))?")
_LONGEST: Final = 100_000


def parse_series(text: str | float) -> list[float | None]:
    """Return the values of a series; None is no value.

    ``0.2`` is one value, ``0.2x3`` four of them (the first and three more), ``1+0.5x3`` is
    1, 1.5, 2, 2.5, and ``_`` or ``_x3`` (three) is nothing known.

    Raises:
        ValueError: a part is none of these, or the series is longer than 100,000 values.

    Examples:
        >>> parse_series("1x2 _ 2+0.5x2")
        [1.0, 1.0, 1.0, None, 2.0, 2.5, 3.0]
        >>> parse_series("_x2")
        [None, None]
    """
    values: list[float | None] = []
    for part in str(text).split():
        match = _PART.fullmatch(part)
        if match is None or (match[1] == "_" and match[2]) or (match[2] and not match[3]):
            raise ValueError(
                f"{part!r} is no part of a series; write 0.2, 0.2x30, 1+0.5x30, _ or _x5"
            )
        times = int(match[3] or 0)
        if len(values) + times > _LONGEST:
            raise ValueError(f"{text!r} is longer than {_LONGEST} values")
        if match[1] == "_":
            values += [None] * (times if match[3] else 1)
            continue
        first, step = float(match[1]), float(match[2] or 0)
        values += [first + step * i for i in range(times + 1)]
    return values
