"""What a detector learnt at one moment, put so that a successor can take it over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from detectors.base import JSON
from schemas.signal import SignalQuery

__all__ = ["POINTS", "Memory", "asked_of"]

POINTS: Final = 1_300
"""How many of a series' newest points a detector may need: 288 lookbacks of four, and some."""

_SLOTS: Final = 8
_SNAPSHOTS_KEPT_US: Final = 400 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class Memory:
    """One thing that a detector learnt of one series.

    Attributes:
        kind: a ``point`` is one value of many; a ``snapshot`` is all of a detector's state.
        asked: which question it belongs to; see ``asked_of``.
        series: the values of the question's labels.
        at_us: the end of the window that taught it.
        state: plain JSON.
        keep_us: how long after its time a detector may look at it.
        every_us: how far apart snapshots are; the newest eight are kept.

    """

    kind: Literal["point", "snapshot"]
    asked: str
    series: tuple[str, ...]
    at_us: int
    state: Mapping[str, JSON]
    keep_us: int = _SNAPSHOTS_KEPT_US
    every_us: int = 0

    @property
    def slot(self) -> int:
        """Return what a later memory of the same slot takes the place of."""
        return self.at_us // self.every_us % _SLOTS if self.every_us else self.at_us


def asked_of(query: SignalQuery) -> str:
    """Return the name under which the answers to a query are remembered.

    Examples:
        >>> from schemas.signal import SignalName
        >>> asked_of(SignalQuery(SignalName.E2E_P95_RATIO, 300, ("model", "feature")))
        'e2e_p95_ratio over 300 s by model, feature'

    """
    return f"{query.signal} over {query.over_s:g} s by {', '.join(query.by)}"
