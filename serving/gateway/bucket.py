"""A token bucket: so much a minute, with a minute's worth in store. Pure."""

from __future__ import annotations

__all__ = ["TokenBucket"]


class TokenBucket:
    """Refills evenly up to its capacity; times are monotonic seconds.

    What costs more than the capacity waits for a full bucket and leaves a debt, so that a limit
    never refuses a large request for good, and no more than the rate flows on average.

    Args:
        per_minute: the rate, and the capacity.
        at: now.
        level: what is in it; a new bucket is full.
    """

    __slots__ = ("_at", "_level", "capacity", "per_s")

    def __init__(self, per_minute: float, at: float, level: float | None = None) -> None:
        self.capacity = per_minute
        self.per_s = per_minute / 60
        self._level = per_minute if level is None else min(per_minute, level)
        self._at = at

    @property
    def state(self) -> tuple[float, float]:
        """Return the level and when it was that: with the rate, all that there is to keep."""
        return self._level, self._at

    def level(self, at: float) -> float:
        """Return what is in it; below zero is debt."""
        if at > self._at:
            self._level = min(self.capacity, self._level + (at - self._at) * self.per_s)
            self._at = at
        return self._level

    def wait_s(self, amount: float, at: float) -> float:
        """Return in how many seconds `amount` can be taken; 0 is now."""
        missing = min(amount, self.capacity) - self.level(at)
        return max(0.0, missing / self.per_s)

    def charge(self, amount: float, at: float) -> None:
        """Take `amount`, into debt if need be; a negative amount gives back."""
        self._level = min(self.capacity, self.level(at) - amount)
