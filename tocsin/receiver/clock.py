"""The wall clock of the edge; everything inside takes a time or a ``Clock``."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock", "utc_now_us"]

Clock = Callable[[], int]
"""Returns UTC microseconds."""


def utc_now_us() -> int:
    """Return the time in UTC microseconds."""
    return time.time_ns() // 1_000
