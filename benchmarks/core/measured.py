"""One measured run, and the runs of one contender summed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

__all__ = ["Measured", "Spread", "percentile", "slope", "spread", "summary"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of a contender took.

    Attributes:
        seconds: from the first records in hand to the last event that was through.
        cpu_seconds: of the contender's own processes meanwhile.
        peak_rss_mb: of the largest of its processes, in MB of 1e6 bytes.
        other: more seconds of CPU and what else a contender tells, by name.
    """

    events: int
    seconds: float
    cpu_seconds: float
    peak_rss_mb: float
    other: dict[str, float] = field(default_factory=dict)

    @property
    def events_per_s(self) -> float:
        """Return the throughput."""
        return self.events / self.seconds

    @property
    def cpu_s_per_million(self) -> float:
        """Return CPU seconds for a million events."""
        return self.cpu_seconds / self.events * 1e6


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of some runs."""

    median: float
    least: float
    most: float

    def as_dict(self) -> dict[str, float]:
        """Return it for JSON."""
        return {"median": self.median, "min": self.least, "max": self.most}


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of one value or more."""
    return Spread(median(values), min(values), max(values))


def summary(runs: Sequence[Measured]) -> dict[str, Any]:
    """Return the figures of one contender's runs, for JSON."""
    figures: dict[str, Any] = {
        "runs": len(runs),
        "events_per_s": spread([run.events_per_s for run in runs]).as_dict(),
        "seconds": spread([run.seconds for run in runs]).as_dict(),
        "cpu_s_per_million": spread([run.cpu_s_per_million for run in runs]).as_dict(),
        "peak_rss_mb": spread([run.peak_rss_mb for run in runs]).as_dict(),
    }
    names = dict.fromkeys(name for run in runs for name in run.other)
    for name in names:
        figures[name] = spread([run.other[name] for run in runs if name in run.other]).as_dict()
    return figures


def percentile(values: Sequence[float], q: float) -> float:
    """Return the smallest value that a share ``q`` of all do not exceed (nearest rank).

    Raises:
        ValueError: there are no values, or ``q`` is not between 0 and 1.
    """
    if not values or not 0 <= q <= 1:
        raise ValueError(f"no percentile {q} of {len(values)} values")
    ordered = sorted(values)
    rank = -(-len(ordered) * q // 1)  # upwards
    return ordered[max(0, int(rank) - 1)]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the straight line that fits points (x, y) best; 0 for fewer than two."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    across = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / across if across else 0.0
