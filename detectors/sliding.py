"""Sliding totals over closed windows, kept by adding what enters and subtracting what leaves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.closed_window import Window
from detectors.errors import DetectorError
from detectors.figures import COUNTS
from detectors.sketch import DDSketch

__all__ = ["Group", "Heard", "History", "Lane", "Totals"]

_BY_ROUTE = ("routed", "fallbacks")
"""Requests whose route is known, and those of them that a fallback answered."""
_PLACES = {name: i for i, name in enumerate((*COUNTS, *_BY_ROUTE))}

Group = tuple[str, ...]

Heard = tuple[Mapping[str, str], int]
"""A series' labels, and the end of its newest window."""


class Totals:
    """The sum of the windows of one group that lie in a lane's lookback."""

    __slots__ = ("_counts", "_sketches", "last_end_us")

    def __init__(self, sketches: Collection[str]) -> None:
        self._counts = np.zeros(len(_PLACES), np.int64)
        self._sketches = {name: DDSketch() for name in sketches}
        self.last_end_us = 0

    def __getitem__(self, name: str) -> int:
        """Return one of COUNTS, or of the two that the label `route` tells."""
        return int(self._counts[_PLACES[name]])

    def sketch(self, name: str) -> DDSketch:
        """Return the sketch of a quantity that the lane was asked to follow."""
        return self._sketches[name]

    def add(self, held: _Held) -> None:
        """Add a window."""
        self._counts += held.counts
        for name, sketch in self._sketches.items():
            if (other := held.window.sketches.get(name)) is not None:
                sketch.merge(other)
        self.last_end_us = max(self.last_end_us, held.window.end_us)

    def subtract(self, held: _Held) -> None:
        """Take away a window that was added before."""
        self._counts -= held.counts
        for name, sketch in self._sketches.items():
            if (other := held.window.sketches.get(name)) is not None:
                sketch.subtract(other)


class Lane:
    """One lookback for each value of some labels: the windows that end in (now - over, now].

    A group that fell silent stays, with all its counts 0, until ``History`` forgets it, so that
    its silence can be told from its never having been.
    """

    def __init__(self, over_us: int, by: Group) -> None:
        self.over_us = over_us
        self.by = by
        self.sketches: set[str] = set()
        self.groups: dict[Group, Totals] = {}
        self.high_us = 0

    @property
    def low_us(self) -> int:
        """Return the time after which a window must end to be in the lookback."""
        return self.high_us - self.over_us

    def holds(self, end_us: int) -> bool:
        """Tell whether a window that ends then is in the lookback."""
        return self.low_us < end_us <= self.high_us

    def add(self, held: _Held) -> None:
        """Add a window to its group."""
        self._totals(held.window.labels).add(held)

    def hear(self, labels: Mapping[str, str], end_us: int) -> None:
        """Know of a series that was heard, whether or not its windows will be added."""
        totals = self._totals(labels)
        totals.last_end_us = max(totals.last_end_us, end_us)

    def _totals(self, labels: Mapping[str, str]) -> Totals:
        group = tuple(labels.get(name, "") for name in self.by)
        totals = self.groups.get(group)
        if totals is None:
            totals = self.groups[group] = Totals(self.sketches)
        return totals

    def subtract(self, held: _Held) -> None:
        """Take a window away from its group."""
        self.groups[tuple(held.window.labels.get(name, "") for name in self.by)].subtract(held)


@dataclass(frozen=True, slots=True)
class _Held:
    window: Window
    counts: NDArray[np.int64]


class History:
    """The closed windows of the longest lookback, and the lanes that follow them.

    Sketches are linear in their buckets, so a lookback moves on by one merge and one subtraction
    for each series and window instead of by merging all its windows again.

    Args:
        window_us: length of a window; lookbacks are rounded up to a multiple of it.

    Raises:
        DetectorError: the length is not positive.

    """

    def __init__(self, window_us: int) -> None:
        if window_us <= 0:
            raise DetectorError(f"a window's length must be positive, not {window_us}")
        self.window_us = window_us
        self.now_us = 0
        self.first_us: int | None = None
        self._lanes: dict[tuple[int, Group], Lane] = {}
        self._ends: dict[int, dict[Group, _Held]] = {}
        self._stripped_us = 0

    def lane(self, over_s: float, by: Group, sketches: Collection[str] = ()) -> Lane:
        """Return the lane of this lookback and these labels; all are made before the first add."""
        over_us = max(1, -(-round(over_s * 1e6) // self.window_us)) * self.window_us
        lane = self._lanes.setdefault((over_us, by), Lane(over_us, by))
        lane.sketches.update(sketches)
        return lane

    @property
    def longest_us(self) -> int:
        """Return the longest lookback."""
        return max((lane.over_us for lane in self._lanes.values()), default=0)

    def covered_s(self, lane: Lane) -> float:
        """Return how much of the lookback lies after the first window ever seen, in seconds."""
        if self.first_us is None:
            return 0.0
        return max(0, min(lane.over_us, lane.high_us - self.first_us)) / 1e6

    def add(self, window: Window) -> None:
        """Add a closed window, or put a later revision in its place.

        Windows only grow, so a revision with no more requests than the one held is not newer,
        whoever numbered it; it changes nothing, as a window older than every lookback does.
        """
        if window.end_us <= self.now_us - self.longest_us:
            return
        key = tuple(part for pair in sorted(window.labels.items()) for part in pair)
        held = self._ends.setdefault(window.end_us, {})
        old = held.get(key)
        if old is not None and old.window.requests >= window.requests:
            return
        new = held[key] = self._hold(window)
        if self.first_us is None or window.start_us < self.first_us:
            self.first_us = window.start_us
        for lane in self._lanes.values():
            if lane.holds(window.end_us):
                if old is not None:
                    lane.subtract(old)
                lane.add(new)

    def resume(self, now_us: int, heard: Iterable[Heard], first_us: int | None) -> None:
        """Begin as if all had been advanced to this time; see ``Rolling.resume``."""
        self.now_us, self.first_us = now_us, first_us
        for lane in self._lanes.values():
            lane.high_us = now_us
        for labels, end_us in heard:
            for lane in self._lanes.values():
                if end_us > lane.low_us - self.longest_us:
                    lane.hear(labels, end_us)

    def sketched(self) -> tuple[int, frozenset[str]]:
        """Return the longest lookback with sketches, and which quantities' they are."""
        lanes = [lane for lane in self._lanes.values() if lane.sketches]
        names = frozenset(name for lane in lanes for name in lane.sketches)
        return max((lane.over_us for lane in lanes), default=0), names

    def advance(self, now_us: int) -> None:
        """Move every lookback on to end at this time; an earlier time changes nothing."""
        if now_us <= self.now_us:
            return
        self.now_us = now_us
        ends = sorted(self._ends)
        for lane in self._lanes.values():
            low, high = lane.low_us, lane.high_us
            lane.high_us = now_us
            for end in ends:
                was, now = low < end <= high, lane.holds(end)
                if was != now:
                    for held in self._ends[end].values():
                        if now:
                            lane.add(held)
                        else:
                            lane.subtract(held)
        self._forget(ends)

    def _forget(self, ends: list[int]) -> None:
        longest = self.longest_us
        sketched, _ = self.sketched()
        for end in ends:
            if end <= self.now_us - longest:
                del self._ends[end]
            elif self._stripped_us < end <= self.now_us - sketched:
                # Counts are a few bytes, sketches a kilobyte: keep them no longer than needed.
                self._ends[end] = {
                    key: replace(held, window=replace(held.window, sketches={}))
                    for key, held in self._ends[end].items()
                }
        self._stripped_us = self.now_us - sketched
        for lane in self._lanes.values():
            limit = lane.low_us - longest
            for group in [g for g, t in lane.groups.items() if t.last_end_us <= limit]:
                del lane.groups[group]

    def forget_lanes(self) -> dict[tuple[int, Group], Lane]:
        """Take all lanes away, to be made anew, and return them for ``fill``."""
        old, self._lanes = self._lanes, {}
        return old

    def fill(self, old: Mapping[tuple[int, Group], Lane]) -> None:
        """Fill lanes made anew: from a lane that was like it, else from the windows held.

        A window older than every lookback with sketches has lost its own.
        """
        for key, lane in self._lanes.items():
            before = old.get(key)
            if before is not None and before.sketches >= lane.sketches:
                lane.sketches, lane.groups = before.sketches, before.groups
                lane.high_us = before.high_us
                continue
            lane.high_us = self.now_us
            for end in sorted(self._ends):
                if lane.holds(end):
                    for held in self._ends[end].values():
                        lane.add(held)

    def _hold(self, window: Window) -> _Held:
        wanted: Mapping[str, DDSketch] = {
            name: sketch
            for name, sketch in window.sketches.items()
            if any(name in lane.sketches for lane in self._lanes.values())
        }
        figures = [getattr(window, name) for name in COUNTS]
        counts = np.array([*figures, *_by_route(window)], np.int64)
        return _Held(replace(window, sketches=wanted), counts)


def _by_route(window: Window) -> tuple[int, int]:
    route = window.labels.get("route")
    return (window.requests if route else 0, window.requests if route == "fallback" else 0)
