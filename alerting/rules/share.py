"""Shares as people write them: ``99.9%`` or ``0.999``."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BeforeValidator, Field

__all__ = ["ShareText", "parse_share"]


def parse_share(value: object) -> float:
    """Return the share that a text or number means, above 0 and below 1.

    Raises:
        ValueError: it is no share.
    """
    number: float | None = None
    if isinstance(value, str):
        try:
            exact = Decimal(value.removesuffix("%").strip())
            number = float(exact / 100 if value.endswith("%") else exact)
        except InvalidOperation:
            number = None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    if number is None or not 0 < number < 1:
        raise ValueError(f"{value!r} is no share between 0 and 1; write it as 99.9%")
    return number


ShareText = Annotated[float, BeforeValidator(parse_share), Field(gt=0, lt=1)]
