"""Durations as people write them: ``30s``, ``15m``, ``1h30m``, ``1d``."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["format_duration", "parse_duration"]

_UNITS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SHAPE: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_LONGEST_S: Final = 366 * 86_400.0


def parse_duration(text: object) -> float:
    """Return the seconds that a text such as ``15m``, ``4h`` or ``1h30m`` means.

    Raises:
        ValueError: the text is no duration, is negative or is longer than a year.
    """
    if text == 0 and not isinstance(text, bool):
        return 0.0
    match = _SHAPE.fullmatch(text) if isinstance(text, str) and text else None
    if match is None:
        if isinstance(text, str) and text[:1] == "-" and _SHAPE.fullmatch(text[1:]):
            raise ValueError(f"{text!r} is negative; a duration is 0s or longer")
        raise ValueError(f"{text!r} is no duration; write it as 30s, 15m, 4h or 1h30m")
    seconds = sum(
        float(part) * unit
        for part, unit in zip(match.groups(), _UNITS.values(), strict=True)
        if part is not None
    )
    if seconds > _LONGEST_S:
        raise ValueError(f"{text!r} is longer than a year")
    return seconds


def format_duration(seconds: float) -> str:
    """Return a duration for people: its two largest units, such as ``4h`` or ``1h30m``."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if 0 < seconds < 10 and not float(seconds).is_integer():
        return f"{seconds:.3g}s"
    rest = round(seconds)
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"
