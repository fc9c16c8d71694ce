"""One query on the rolling windows, and how it is answered: plain, baseline, budget, detector."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Protocol

from detectors.anomalous import Anomalous
from detectors.baseline import BaselineSettings
from detectors.measures import MEASURES, Reading
from detectors.memory import Memory
from detectors.plain import Forgetful, Plain
from detectors.relative import Relative
from detectors.sliding import Group, History, Lane, Totals
from schemas.derived import ANOMALIES, BURNS, RATIOS
from schemas.signal import SIGNALS, SignalQuery

__all__ = ["SUPPORTED", "Asked", "ask"]

_DETECTORS: Final = {
    name: detector for (base, detector), name in ANOMALIES.items() if SIGNALS[name].of == base
}
SUPPORTED: Final = (
    frozenset(MEASURES)
    | frozenset(RATIOS.values())
    | frozenset(BURNS.values())
    | frozenset(_DETECTORS)
)
"""The signals that the windows' counts and sketches answer."""


class Asked(Protocol):
    """A query with all that its answers need to remember."""

    query: SignalQuery
    lane: Lane
    detector: str

    def answer(self, group: Group, totals: Totals) -> tuple[Reading, float | None]:
        """Return the reading of a group's lookback, and what is usual if that is known."""

    def prune(self, limit_us: int, groups: Collection[Group]) -> None:
        """Forget groups that are not among these and were last known before a time."""

    def take_over(self, other: object) -> None:
        """Go on with what the answers to the same query remembered."""

    def memories(self) -> list[Memory]:
        """Return what was learnt since the last call."""

    def recall(self, group: Group, memories: Sequence[Memory]) -> None:
        """Take over what was learnt of a group, oldest first.

        Raises:
            SnapshotError: the answers to such a query do not learn that.

        """


def ask(query: SignalQuery, history: History, settings: BaselineSettings) -> Asked:
    """Return what answers a query, its lanes made in the history."""
    quantity = SIGNALS[query.signal].of or query.signal
    measure = MEASURES[quantity]
    lane = history.lane(query.over_s, query.by, measure.sketches)
    plain = Plain(query, measure, lane, history)
    if query.signal in BURNS.values():
        return Burning(plain, history.lane(query.short_s, query.by, measure.sketches))
    if query.signal in RATIOS.values():
        return Relative(plain, settings)
    if query.signal in _DETECTORS:
        return Anomalous(plain, _DETECTORS[query.signal])
    return plain


class Burning(Forgetful):
    """How fast a share of bad requests uses up its budget, in both lookbacks at once."""

    detector = "burn_rate"

    def __init__(self, plain: Plain, short: Lane) -> None:
        self.query = plain.query
        self.lane = plain.lane
        self._plain = plain
        self._short = short

    def answer(self, group: Group, totals: Totals) -> tuple[Reading, float | None]:
        """Return the lesser of the two burn rates; unknown when either lookback is empty."""
        budget = 1 - self.query.objective
        long, _ = self._plain.answer(group, totals)
        recent = self._short.groups.get(group)
        short = None if recent is None else self._plain.read(recent, 0.0)
        detail = long.detail | {
            "short_samples": float(short.samples if short is not None else 0),
            "short_s": self.query.short_s,
            "objective": self.query.objective,
        }
        if long.value is None or short is None or short.value is None:
            return Reading(None, long.samples, detail), None
        detail |= {"long": long.value / budget, "short": short.value / budget}
        return Reading(min(detail["long"], detail["short"]), long.samples, detail), None
