"""The clocks as parameters: what time it is, and how much time has passed."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock", "Elapsed", "elapsed_clock", "system_clock"]

Clock = Callable[[], int]
"""Returns UTC microseconds since 1970; it may jump either way."""

Elapsed = Callable[[], int]
"""Returns microseconds since some moment; it only goes on, however the wall clock is set."""


def system_clock() -> int:
    """Return the machine's wall clock."""
    return time.time_ns() // 1_000


def elapsed_clock() -> int:
    """Return the machine's monotonic clock."""
    return time.monotonic_ns() // 1_000
