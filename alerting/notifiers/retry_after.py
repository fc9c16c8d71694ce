"""The ``Retry-After`` header (RFC 9110, 10.2.3), in its form of seconds."""

from __future__ import annotations

import math

__all__ = ["parse_retry_after"]


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a receiver asks for; None when it says none that make sense.

    The header's other form, a date, counts as none: neither receiver sends it, and reading it
    would take a clock.
    """
    try:
        seconds = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
