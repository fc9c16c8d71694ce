"""The points behind the live charts: a few signals by series, the newest that fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Micros, Name
from schemas.signal import SIGNALS, SignalName

__all__ = ["CHARTS", "Chart", "Point", "PointBatch", "PointStore"]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart; ``warning`` and ``critical`` are the guide's levels, drawn as lines."""

    signal: SignalName
    title: str
    warning: float | None = None
    critical: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON for the page."""
        return {
            "signal": self.signal.value,
            "title": self.title,
            "unit": SIGNALS[self.signal].unit,
            "meaning": SIGNALS[self.signal].meaning,
            "warning": self.warning,
            "critical": self.critical,
        }


CHARTS: Final = (
    Chart(SignalName.ERROR_RATE, "Error rate", warning=0.01, critical=0.05),
    Chart(SignalName.E2E_P95, "Latency P95", warning=5, critical=10),
    Chart(SignalName.TTFT_P95, "TTFT P95", warning=1, critical=3),
    Chart(SignalName.COST_RATE, "Cost"),
    Chart(SignalName.REQUEST_RATE, "Requests"),
)


class Point(BaseModel):
    """One value of one signal; None is a gap in the line, never zero."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    signal: SignalName
    series: Name
    at_us: Micros
    value: float | None


class PointBatch(BaseModel):
    """What one push brings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: Annotated[list[Point], Field(max_length=10_000)]


class PointStore:
    """The newest points of each (signal, series); one told again replaces the one before."""

    def __init__(self, points_a_series: int = 2_000, series: int = 100) -> None:
        self.points_a_series = points_a_series
        self.series = series
        self.dropped = 0
        self._points: dict[tuple[SignalName, str], dict[int, Point]] = {}

    def add(self, points: list[Point]) -> list[Point]:
        """Keep points; those of a series too many are dropped and counted. Return the kept."""
        kept = []
        for point in points:
            key = (point.signal, point.series)
            if key not in self._points:
                if len(self._points) >= self.series:
                    self.dropped += 1
                    continue
                self._points[key] = {}
            series = self._points[key]
            series[point.at_us] = point
            if len(series) > self.points_a_series:
                del series[min(series)]
            kept.append(point)
        return kept

    def as_dict(self) -> dict[str, Any]:
        """Return the catalogue of charts and every point kept, by series and time."""
        return {
            "catalogue": [chart.as_dict() for chart in CHARTS],
            "points": [
                kept[at_us].model_dump(mode="json")
                for kept in self._points.values()
                for at_us in sorted(kept)
            ],
        }
