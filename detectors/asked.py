"""One query on the rolling windows, and how it is answered: plain, baseline, budget, detector."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, Protocol

from detectors.anomaly import AdwinSeries, MadSeries, anomaly_series
from detectors.baseline import Baseline, BaselineSettings
from detectors.measures import MEASURES, Measure, Reading
from detectors.sliding import Group, History, Lane, Totals
from schemas.derived import ANOMALIES, BURNS, RATIOS
from schemas.signal import SIGNALS, SignalName, SignalQuery

__all__ = ["SUPPORTED", "WORSE", "Asked", "ask"]

_FIGURES: Final = ("value", "traffic", "tokens_per_request", "usd_per_token")
_DETECTORS: Final = {
    name: detector for (base, detector), name in ANOMALIES.items() if SIGNALS[name].of == base
}
WORSE: Final[dict[SignalName, Literal["below", "both"]]] = {
    SignalName.OUTPUT_TOKENS_PER_S: "below",
    SignalName.REQUEST_RATE: "both",
}
"""On which side of its baseline a quantity is bad; above, unless it stands here."""

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

    def take_over(self, other: Asked) -> None:
        """Go on with what the answers to the same query remembered."""


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


class Plain:
    """The quantity itself."""

    detector = "rolling"

    def __init__(self, query: SignalQuery, measure: Measure, lane: Lane, history: History) -> None:
        self.query = query
        self.lane = lane
        self._measure = measure
        self.history = history

    @property
    def covered_s(self) -> float:
        """Return how much of the lookback lies after the first window ever seen."""
        return self.history.covered_s(self.lane)

    def read(self, totals: Totals, covered_s: float) -> Reading:
        """Return the quantity of some totals."""
        reading = self._measure.read(totals, covered_s)
        if self._measure.whole and covered_s * 1e6 < self.lane.over_us:
            return Reading(None, reading.samples, reading.detail)
        return reading

    def answer(self, _: Group, totals: Totals) -> tuple[Reading, float | None]:
        """Return the quantity of a group's lookback."""
        return self.read(totals, self.covered_s), None

    def prune(self, limit_us: int, groups: Collection[Group]) -> None:
        """Do nothing: nothing is remembered."""

    def take_over(self, other: Asked) -> None:
        """Do nothing: nothing is remembered."""


class Burning:
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

    def prune(self, limit_us: int, groups: Collection[Group]) -> None:
        """Do nothing: nothing is remembered."""

    def take_over(self, other: Asked) -> None:
        """Do nothing: nothing is remembered."""


class Relative:
    """The quantity relative to the trailing baseline of its group."""

    detector = "baseline"

    def __init__(self, plain: Plain, settings: BaselineSettings) -> None:
        self.query = plain.query
        self.lane = plain.lane
        self._plain = plain
        self._settings = settings
        self._baselines: dict[Group, Baseline] = {}

    def answer(self, group: Group, totals: Totals) -> tuple[Reading, float | None]:
        """Return the ratio to the baseline, and let the baseline see the value."""
        now_us = self.lane.high_us
        reading, _ = self._plain.answer(group, totals)
        baseline = self._baselines.get(group)
        if baseline is None:
            quantity = SIGNALS[self.query.signal].of or self.query.signal
            baseline = self._baselines[group] = Baseline(
                self._settings,
                self.lane.over_us,
                self._plain.history.window_us,
                WORSE.get(quantity, "above"),
            )
        figures = _figures(reading.value, totals, self._plain.covered_s)
        medians = baseline.at(now_us) or [None] * len(figures)
        ratios = [_divide(figure, median) for figure, median in zip(figures, medians, strict=True)]
        baseline.observe(now_us, figures, reading.samples)
        detail = dict(reading.detail)
        if reading.value is not None:
            detail["value"] = reading.value
        for name, ratio in zip(_FIGURES[1:], ratios[1:], strict=True):
            if ratio is not None:
                detail[f"{name}_ratio"] = ratio
        if (unexplained := _divide(ratios[0], ratios[1])) is not None:
            detail["unexplained_ratio"] = unexplained
        return Reading(ratios[0], reading.samples, detail), medians[0]

    def prune(self, limit_us: int, groups: Collection[Group]) -> None:
        """Forget baselines of groups that are gone."""
        for group in [g for g, b in self._baselines.items() if b.last_us <= limit_us]:
            if group not in groups:
                del self._baselines[group]

    def take_over(self, other: Asked) -> None:
        """Go on with another's baselines."""
        if isinstance(other, Relative):
            self._baselines = other._baselines  # noqa: SLF001 - of the same class


class Anomalous:
    """A detector's word on the quantity."""

    def __init__(self, plain: Plain, detector: str) -> None:
        self.query = plain.query
        self.lane = plain.lane
        self.detector = detector
        self._plain = plain
        self._series: dict[Group, MadSeries | AdwinSeries] = {}

    def answer(self, group: Group, totals: Totals) -> tuple[Reading, float | None]:
        """Return the detector's reading, and what is usual if it knows."""
        reading, _ = self._plain.answer(group, totals)
        series = self._series.get(group)
        if series is None:
            series = self._series[group] = anomaly_series(
                self.detector, self.lane.over_us, self._plain.history.window_us
            )
        said = series.read(self.lane.high_us, reading)
        return said, series.usual if isinstance(series, MadSeries) else None

    def prune(self, limit_us: int, groups: Collection[Group]) -> None:
        """Forget the detectors of groups that are gone."""
        for group in [g for g, s in self._series.items() if s.last_us <= limit_us]:
            if group not in groups:
                del self._series[group]

    def take_over(self, other: Asked) -> None:
        """Go on with another's detectors."""
        if isinstance(other, Anomalous):
            self._series = other._series  # noqa: SLF001 - of the same class


def _figures(value: float | None, totals: Totals, covered_s: float) -> list[float | None]:
    tokens = totals["input_tokens"] + totals["output_tokens"]
    return [
        value,
        _divide(totals["requests"], covered_s),
        _divide(tokens, totals["requests"] - totals["tokens_unknown"]),
        _divide(totals["cost_nano_usd"] / 1e9, tokens),
    ]


def _divide(figure: float | None, by: float | None) -> float | None:
    return None if figure is None or not by else figure / by
