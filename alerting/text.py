"""Pieces of text that decisions and receivers write alike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["clock", "flat", "time_of"]


def time_of(at_us: int) -> datetime:
    """Return a moment in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


def clock(at_us: int) -> str:
    """Return a time of day for people, in UTC."""
    return time_of(at_us).strftime("%H:%M:%S")


def flat(values: Mapping[str, Any]) -> str:
    """Return a few values in one line for people.

    Examples:
        >>> flat({"flag": "ai.model.version", "variant": "v2"})
        'flag=ai.model.version, variant=v2'
    """
    return ", ".join(f"{name}={value}" for name, value in values.items()) or "nothing"
