"""Time the pieces of a stream: to the first one, and between them."""

from __future__ import annotations

__all__ = ["Pace"]


class Pace:
    """First piece, and mean and longest gap between two pieces of the same choice; seconds."""

    __slots__ = ("_gaps", "_last", "_total", "first_at", "itl_max_s", "last_at")

    def __init__(self) -> None:
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.itl_max_s: float | None = None
        self._last: dict[int, float] = {}
        self._total = 0.0
        self._gaps = 0

    def produced(self, choice: int, at: float) -> None:
        """Note a piece of `choice` at the monotonic time `at`."""
        previous = self._last.get(choice)
        self._last[choice] = at
        self.last_at = at
        if self.first_at is None:
            self.first_at = at
        if previous is None:
            return
        gap = max(0.0, at - previous)
        self._total += gap
        self._gaps += 1
        if self.itl_max_s is None or gap > self.itl_max_s:
            self.itl_max_s = gap

    @property
    def itl_mean_s(self) -> float | None:
        """Return the mean gap, or None before there was one."""
        return self._total / self._gaps if self._gaps else None
