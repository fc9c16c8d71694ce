"""A detector's word on one series of rolling values, asked more often than it may be fed."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from detectors.adwin import AdwinDrift
from detectors.base import JSON, read_snapshot
from detectors.errors import SnapshotError
from detectors.mad import MadDrift
from detectors.measures import Reading

__all__ = ["AdwinSeries", "AnomalySeries", "MadSeries", "anomaly_series"]

_PER_LOOKBACK: Final = 4
_MEMORY: Final = 288 * _PER_LOOKBACK
_FIRST: Final = 12
_ROOM: Final = 4.0


class AnomalySeries(Protocol):
    """What turns the readings of one series into a detector's reading, in order of time."""

    last_us: int
    """When it last took a value in, and so learnt."""
    kind: Literal["point", "snapshot"]
    keeping: Mapping[str, int]
    """How long what it learns is kept; see ``Memory``."""

    @property
    def usual(self) -> float | None:
        """Return what is compared with, if the detector compares with something."""

    def learnt(self) -> dict[str, JSON]:
        """Return what it learnt last."""

    def recall(self, learnt: Sequence[tuple[int, Mapping[str, JSON]]]) -> None:
        """Take over what another had learnt, with the times, oldest first.

        Raises:
            SnapshotError: such a detector does not learn that.

        """

    def read(self, now_us: int, reading: Reading) -> Reading:
        """Return the detector's word on the lookback that ends now."""


class MadSeries:
    """Score a lookback against earlier ones that it does not overlap.

    Args:
        over_us: the lookback of the values.
        window_us: length of a window, the shortest time between two values.
        minimum_samples: what must stand behind a value that is compared with.

    """

    kind: Literal["point", "snapshot"] = "point"

    def __init__(self, over_us: int, window_us: int, minimum_samples: int = 20) -> None:
        self._over_us = over_us
        # For all that are compared with, were there but one for each lookback.
        self.keeping: Mapping[str, int] = {"keep_us": (_MEMORY + 2) * over_us}
        self._spacing_us = max(window_us, over_us // _PER_LOOKBACK)
        self._minimum_samples = minimum_samples
        self._recent: deque[tuple[int, float]] = deque()
        self._mad = MadDrift(memory=_MEMORY)
        self.last_us = 0

    def read(self, now_us: int, reading: Reading) -> Reading:
        """Return the score of the lookback that ends now; ``detail.value`` is the value itself."""
        while self._recent and self._recent[0][0] <= now_us - self._over_us:
            self._mad.learn(self._recent.popleft()[1])
        value = reading.value
        if value is None:
            return Reading(None, reading.samples, reading.detail)
        score = self._mad.score(value)
        if reading.samples >= self._minimum_samples and (
            not self.last_us or now_us >= self.last_us + self._spacing_us
        ):
            self._recent.append((now_us, value))
            self.last_us = now_us
        return Reading(score, reading.samples, reading.detail | {"value": value})

    @property
    def usual(self) -> float | None:
        """Return the median that is compared with."""
        return self._mad.median

    def learnt(self) -> dict[str, JSON]:
        """Return the value that was taken in last."""
        return {"values": [self._recent[-1][1]]}

    def recall(self, learnt: Sequence[tuple[int, Mapping[str, JSON]]]) -> None:
        """Take over values, oldest first.

        Raises:
            SnapshotError: these are no values.

        """
        values = [
            (at_us, read_snapshot(state, {}, ("values",))["values"]) for at_us, state in learnt
        ]
        if any(len(found) != 1 for _, found in values):
            raise SnapshotError("values: a point has one of them")
        self._recent = deque((at_us, found[0]) for at_us, found in values)
        self.last_us = self._recent[-1][0] if self._recent else 0


class AdwinSeries:
    """Let ADWIN see one value of each lookback, and say for one lookback that it found a change.

    ADWIN wants values in [0, 1], so they are divided by four times the median of the first twelve,
    anew after each change.

    Args:
        over_us: the lookback of the values.

    """

    kind: Literal["point", "snapshot"] = "snapshot"

    usual: float | None = None

    def __init__(self, over_us: int) -> None:
        self._over_us = over_us
        self.keeping: Mapping[str, int] = {"every_us": over_us}
        self._begin()
        self._changes: deque[int] = deque()
        self._ready = False
        self.last_us = 0

    def _begin(self) -> None:
        self._adwin = AdwinDrift()
        self._first: list[float] = []
        self._unit: float | None = None

    def read(self, now_us: int, reading: Reading) -> Reading:
        """Return 1 when a change was found within the lookback that ends now, else 0."""
        value = reading.value
        if value is not None and now_us >= self.last_us + self._over_us:
            self._feed(now_us, value)
            self.last_us = now_us
        while self._changes and self._changes[0] <= now_us - self._over_us:
            self._changes.popleft()
        detail = reading.detail | {"changes": float(len(self._changes))}
        if value is not None:
            detail["value"] = value
        if self._unit is not None and (mean := self._adwin.value) is not None:
            detail["mean"] = mean * self._unit
        if not self._changes and (value is None or not self._ready):
            return Reading(None, reading.samples, detail)
        return Reading(float(bool(self._changes)), reading.samples, detail)

    def learnt(self) -> dict[str, JSON]:
        """Return all that was learnt so far."""
        return {
            "adwin": self._adwin.snapshot(),
            "first": list(self._first),
            "unit": [] if self._unit is None else [self._unit],
            "changes": list(self._changes),
            "ready": self._ready,
        }

    def recall(self, learnt: Sequence[tuple[int, Mapping[str, JSON]]]) -> None:
        """Take over the newest of what another had learnt.

        Raises:
            SnapshotError: it was made with other settings or is malformed.

        """
        if not learnt:
            return
        at_us, state = learnt[-1]
        lists = read_snapshot(state, {}, ("first", "unit", "changes"))
        inner: Any = state.get("adwin")
        if not isinstance(inner, Mapping):
            raise SnapshotError("adwin: the snapshot has none")
        self._begin()
        self._adwin.restore(inner)
        self._first = lists["first"]
        self._unit = lists["unit"][0] if lists["unit"] else None
        self._changes = deque(int(at) for at in lists["changes"])
        self._ready = state.get("ready") is True
        self.last_us = at_us

    def _feed(self, now_us: int, value: float) -> None:
        fed = [value]
        if self._unit is None:
            self._first.append(value)
            if len(self._first) < _FIRST:
                return
            self._unit = _ROOM * abs(statistics.median(self._first)) or 1.0
            self._ready = True
            fed = self._first
        for x in fed:
            self._adwin.update(min(1.0, max(0.0, x / self._unit)))
            if self._adwin.detected:
                self._changes.append(now_us)
                self._begin()
                return


def anomaly_series(detector: str, over_us: int, window_us: int) -> AnomalySeries:
    """Return a new series for a detector by its name, ``mad`` or ``adwin``."""
    return MadSeries(over_us, window_us) if detector == "mad" else AdwinSeries(over_us)
