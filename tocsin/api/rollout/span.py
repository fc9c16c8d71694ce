"""The time that the charts show, and how times and figures are written."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from serving.rollout.machine import Outcome, RolloutState
from serving.rollout.trail import TrailPoint

__all__ = ["Span", "clock", "evidence_in_words", "percent", "thin"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MOST_POINTS: Final = 180


@dataclass(frozen=True, slots=True)
class Span:
    """The time that every chart of a rollout shows; ``known_us`` is where knowledge ends."""

    from_us: int
    until_us: int
    known_us: int

    @classmethod
    def of(cls, state: RolloutState, now_us: int) -> Span:
        """Return a rollout's span; what is not known yet takes a quarter of it at most."""
        known = max(state.looked_at_us, state.started_at_us + 1)
        if state.outcome is not Outcome.RUNNING:
            end = max(known, state.ended_at_us or 0)
            after = end + (end - state.started_at_us) // 16  # what it ended in is seen, too
            return cls(state.started_at_us, after, after)
        most = known + max((known - state.started_at_us) // 3, 60_000_000)
        return cls(state.started_at_us, max(known, min(now_us, most)), known)

    def place(self, at_us: int) -> float:
        """Return where a moment is, from 0 to 1."""
        return min(1.0, max(0.0, (at_us - self.from_us) / (self.until_us - self.from_us)))


def thin(trail: Sequence[TrailPoint], most: int = _MOST_POINTS) -> list[TrailPoint]:
    """Return as many points as a chart can show, the first and the last of each step among them."""
    every = max(1, math.ceil(len(trail) / most))
    last = len(trail) - 1
    return [
        point
        for place, point in enumerate(trail)
        if place % every == 0
        or place == last
        or point.step != trail[place - 1].step
        or point.step != trail[place + 1].step
    ]


def percent(share: float) -> str:
    """Return a share as people read it: three digits, no more.

    >>> percent(0), percent(0.00123), percent(0.0312), percent(0.5), percent(1)
    ('0 %', '0.123 %', '3.12 %', '50 %', '100 %')
    """
    return f"{share * 100:.3g} %"


def evidence_in_words(value: float) -> str:
    """Return evidence as people read it.

    >>> [evidence_in_words(value) for value in (1e-12, 0.034, 1.0, 79.6, 12_345.6)]
    ['under 0.01', '0.034', '1', '79.6', '12,346']
    """
    if value < 0.01:
        return "under 0.01"
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.2g}" if value < 10 else f"{value:.3g}"


def clock(at_us: int, *, day: bool = False) -> str:
    """Return a moment in UTC, to the second."""
    at = _EPOCH + dt.timedelta(microseconds=at_us)
    return at.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S")
