"""Scores by event time: the sum of those in a lookback, each item counted once."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.signal import SignalQuery

__all__ = ["Group", "Sum", "Tally"]

Group = tuple[str, ...]

_UNIT: Final = 10**9


@dataclass(slots=True)
class Sum:
    """What one group's lookback holds; scores are summed as integers, so nothing drifts away."""

    scored: int = 0
    unscored: int = 0
    total: int = 0
    last_us: int = 0

    @property
    def mean(self) -> float | None:
        """Return the mean score, None without scores."""
        return self.total / _UNIT / self.scored if self.scored else None


@dataclass(slots=True)
class _Item:
    time_us: int
    group: Group
    score: int | None  # in units of 1e-9
    version: int
    alive: bool = True
    inside: bool = False


@dataclass(slots=True)
class _Lane:
    over_us: int
    by: Group
    sums: dict[Group, Sum] = field(default_factory=dict)
    items: dict[Hashable, _Item] = field(default_factory=dict)
    waiting: list[tuple[int, int, Hashable, _Item]] = field(default_factory=list)
    counted: list[tuple[int, int, Hashable, _Item]] = field(default_factory=list)


class Tally:
    """Follow the lookbacks of some queries over items that may come late, twice or changed.

    An item counts in the lookbacks (now - over, now] that its time lies in. The same key again
    takes the earlier item's place if its version is not older.

    Args:
        queries: each with its lookback and labels; a group that fell silent stays with nothing
            counted for another lookback.

    """

    def __init__(self, queries: Collection[SignalQuery]) -> None:
        self._lanes: dict[tuple[int, Group], _Lane] = {}
        self._now_us = 0
        self._order = itertools.count()  # so that heaps never compare keys
        self.reask(queries)

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Follow other queries from now on; a lookback that stays goes on, a new one is empty."""
        old, self._lanes = self._lanes, {}
        for query in queries:
            key = max(1, round(query.over_s * 1e6)), query.by
            self._lanes[key] = old.get(key) or self._lanes.get(key) or _Lane(*key)

    def add(
        self,
        key: Hashable,
        time_us: int,
        labels: Mapping[str, str],
        score: float | None,
        version: int = 0,
    ) -> None:
        """Add an item, or put it in the place of the one with its key; None is no score."""
        units = None if score is None else round(score * _UNIT)
        for lane in self._lanes.values():
            if time_us <= self._now_us - lane.over_us:
                continue
            old = lane.items.get(key)
            if old is not None:
                if old.version > version:
                    continue
                old.alive = False
                if old.inside:
                    _count(lane, old, -1)
            group = tuple(labels.get(name, "") for name in lane.by)
            item = lane.items[key] = _Item(time_us, group, units, version)
            heapq.heappush(lane.waiting, (time_us, next(self._order), key, item))
        self._enter()

    def evaluate(self, now_us: int) -> None:
        """Move every lookback on to end at this time; an earlier time changes nothing."""
        self._now_us = max(self._now_us, now_us)
        self._enter()
        for lane in self._lanes.values():
            low_us = self._now_us - lane.over_us
            while lane.counted and lane.counted[0][0] <= low_us:
                _, _, key, item = heapq.heappop(lane.counted)
                if item.alive:
                    _count(lane, item, -1)
                    del lane.items[key]
            for group in [g for g, s in lane.sums.items() if s.last_us <= low_us - lane.over_us]:
                del lane.sums[group]

    def sums(self, query: SignalQuery) -> Mapping[Group, Sum]:
        """Return each group's sum for one of the queries."""
        return self._lanes[max(1, round(query.over_s * 1e6)), query.by].sums

    def _enter(self) -> None:
        for lane in self._lanes.values():
            while lane.waiting and lane.waiting[0][0] <= self._now_us:
                entry = heapq.heappop(lane.waiting)
                if entry[3].alive:
                    entry[3].inside = True
                    _count(lane, entry[3], 1)
                    heapq.heappush(lane.counted, entry)


def _count(lane: _Lane, item: _Item, sign: int) -> None:
    held = lane.sums.setdefault(item.group, Sum())
    held.last_us = max(held.last_us, item.time_us)
    if item.score is None:
        held.unscored += sign
    else:
        held.scored += sign
        held.total += sign * item.score
