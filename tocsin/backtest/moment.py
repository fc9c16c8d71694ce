"""Moments as people write them on a command line: ``2026-11-20T14:00``, ``-7d``, ``now``."""

from __future__ import annotations

from datetime import UTC, datetime

from alerting.rules.duration import parse_duration

__all__ = ["parse_moment"]


def parse_moment(text: str, now_us: int) -> int:
    """Return UTC microseconds; a time without a zone is UTC, ``-7d`` is before now.

    Raises:
        ValueError: the text is no moment.

    Examples:
        >>> parse_moment("-1h", 7_200_000_000)
        3600000000
        >>> parse_moment("1970-01-01T00:00:01Z", 0)
        1000000
    """
    if text == "now":
        return now_us
    if text.startswith("-"):
        return now_us - round(parse_duration(text[1:]) * 1e6)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no moment; write it as 2026-11-20T14:00, -7d or now"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
