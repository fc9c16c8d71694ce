"""A query on the rolling windows that is answered by the ratio to a trailing baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from detectors.baseline import Baseline, BaselineSettings
from detectors.learning import Learning
from detectors.measures import Reading
from detectors.memory import Memory, asked_of
from detectors.plain import Plain
from detectors.sliding import Group, Totals
from schemas.signal import SIGNALS, SignalName

__all__ = ["WORSE", "Relative"]

_FIGURES: Final = ("value", "traffic", "tokens_per_request", "usd_per_token")
WORSE: Final[dict[SignalName, Literal["below", "both"]]] = {
    SignalName.OUTPUT_TOKENS_PER_S: "below",
    SignalName.REQUEST_RATE: "both",
}
"""On which side of its baseline a quantity is bad; above, unless it stands here."""


class Relative(Learning[Baseline]):
    """The quantity relative to the trailing baseline of its group."""

    detector = "baseline"

    def __init__(self, plain: Plain, settings: BaselineSettings) -> None:
        super().__init__()
        self.query = plain.query
        self.lane = plain.lane
        self._plain = plain
        self._settings = settings

    def answer(self, group: Group, totals: Totals) -> tuple[Reading, float | None]:
        """Return the ratio to the baseline, and let the baseline see the value."""
        now_us = self.lane.high_us
        reading, _ = self._plain.answer(group, totals)
        baseline = self.learner(group)
        figures = _figures(reading.value, totals, self._plain.covered_s)
        medians = baseline.at(now_us) or [None] * len(figures)
        ratios = [_divide(figure, median) for figure, median in zip(figures, medians, strict=True)]
        before_us = baseline.last_us
        baseline.observe(now_us, figures, reading.samples)
        if baseline.last_us != before_us:
            self._learn(group, baseline)
        detail = dict(reading.detail)
        if reading.value is not None:
            detail["value"] = reading.value
        for name, ratio in zip(_FIGURES[1:], ratios[1:], strict=True):
            if ratio is not None:
                detail[f"{name}_ratio"] = ratio
        if (unexplained := _divide(ratios[0], ratios[1])) is not None:
            detail["unexplained_ratio"] = unexplained
        return Reading(ratios[0], reading.samples, detail), medians[0]

    def _begin(self) -> Baseline:
        quantity = SIGNALS[self.query.signal].of or self.query.signal
        return Baseline(
            self._settings,
            self.lane.over_us,
            self._plain.history.window_us,
            WORSE.get(quantity, "above"),
        )

    def _restore(self, learner: Baseline, memories: Sequence[Memory]) -> None:
        learner.recall([dict(memory.state) for memory in memories])

    def _learn(self, group: Group, baseline: Baseline) -> None:
        self._learnt.append(
            Memory(
                "point",
                asked_of(self.query),
                group,
                baseline.last_us,
                baseline.newest(),
                keep_us=baseline.horizon_us,
            )
        )


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
