"""The one thing that all streaming detectors are: fed value by value, asked, saved, restored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from pydantic import JsonValue

from detectors.errors import SnapshotError

__all__ = ["JSON", "Detector", "is_known", "read_snapshot"]

JSON = JsonValue
"""What JSON can hold."""


@runtime_checkable
class Detector(Protocol):
    """Watch a stream of values for a change of their distribution.

    Detectors are deterministic: the same values in the same order give the same answers. None and
    NaN are unknown; they are ignored, never taken for zero. A snapshot is plain JSON (never
    pickle), and a detector restored from it answers as the first would have.
    """

    def update(self, x: float | None) -> None:
        """Take in the next value."""

    @property
    def detected(self) -> bool:
        """Tell whether the newest values show a change."""

    @property
    def value(self) -> float | None:
        """Return the statistic behind ``detected``, None while there are too few values."""

    def snapshot(self) -> dict[str, JSON]:
        """Return all that ``restore`` needs."""

    def restore(self, snapshot: Mapping[str, JSON]) -> None:
        """Take over another's state.

        Raises:
            SnapshotError: the snapshot is not of such a detector with these settings.

        """


def is_known(x: float | None) -> bool:
    """Tell whether a value is a finite number."""
    return x is not None and math.isfinite(x)


def read_snapshot(
    snapshot: Mapping[str, JSON], settings: Mapping[str, JSON], numbers: tuple[str, ...]
) -> dict[str, list[float]]:
    """Return the lists of numbers in a snapshot made with the same settings.

    Raises:
        SnapshotError: a setting differs, or a list is absent or holds something else.

    """
    for name, wanted in settings.items():
        if snapshot.get(name) != wanted:
            raise SnapshotError(f"{name}: the snapshot says {snapshot.get(name)!r}, not {wanted!r}")
    lists: dict[str, list[float]] = {}
    for name in numbers:
        found = snapshot.get(name)
        if not isinstance(found, list):
            raise SnapshotError(f"{name}: the snapshot has no such list")
        values = [float(x) for x in found if isinstance(x, int | float) and is_known(x)]
        if len(values) != len(found):
            raise SnapshotError(f"{name}: the snapshot's list holds more than numbers")
        lists[name] = values
    return lists
