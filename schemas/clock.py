"""The clock as a parameter: UTC microseconds."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock", "system_clock"]

Clock = Callable[[], int]
"""Returns UTC microseconds since 1970."""


def system_clock() -> int:
    """Return the machine's wall clock."""
    return time.time_ns() // 1_000
