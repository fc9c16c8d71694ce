"""Judged quality: the mean score of a lookback, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

from detectors.tally import Sum, Tally
from schemas.base import SCHEMA_VERSION
from schemas.evaluation import EvalResult
from schemas.signal import Signal, SignalName, SignalQuery

__all__ = ["Quality", "wilson_interval"]

_Z95: Final = 1.959963984540054


def wilson_interval(mean: float, n: int, z: float = _Z95) -> tuple[float, float]:
    """Return the Wilson score interval of a mean of n scores in [0, 1], 95 % by default.

    It is made for shares. Scores in [0, 1] vary at most as much as a share of the same mean does,
    so for them it is on the safe side; unlike Student's it stays inside [0, 1] and does not shrink
    to a point when all scores are equal.

    References:
        Edwin B. Wilson: Probable inference, the law of succession, and statistical inference.
        Journal of the American Statistical Association 22, 1927, pages 209-212.

    Examples:
        >>> [round(x, 3) for x in wilson_interval(0.8, 20)]
        [0.584, 0.919]

    """
    share = z * z / n
    centre = (mean + share / 2) / (1 + share)
    half = math.sqrt(share * (mean * (1 - mean) + share / 4)) / (1 + share)
    return max(0.0, centre - half), min(1.0, centre + half)


class Quality:
    """Answer queries for ``QUALITY_SCORE`` and ``SCORE_COUNT`` from the results of the judge.

    A score counts at the time when its request ended, however late the judge was. Requests that
    got none (no text, no or a bad answer, no room) are told as ``unscored`` and are in no mean.
    Judged again by the same evaluator, a request has its newest result.

    Args:
        queries: what the rules need; those for other signals are left out.

    """

    def __init__(self, queries: Collection[SignalQuery]) -> None:
        self._queries = _asked(queries)
        self._tally = Tally(self._queries)

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on; those that stay go on."""
        self._queries = _asked(queries)
        self._tally.reask(self._queries)

    @property
    def longest_us(self) -> int:
        """Return the longest lookback, 0 without any."""
        return max((round(q.over_s * 1e6) for q in self._queries), default=0)

    def add(self, result: EvalResult) -> None:
        """Add a result."""
        self._tally.add(
            (result.event_id, result.evaluator),
            result.request_end_us,
            result.labels,
            result.score,
            version=result.at_us,
        )

    def evaluate(self, now_us: int) -> list[Signal]:
        """Return the mean scores of the lookbacks that end at this event time."""
        self._tally.evaluate(now_us)
        return [
            Signal(
                schema_version=SCHEMA_VERSION,
                signal=query.signal,
                labels=dict(zip(query.by, group, strict=True)),
                over_s=query.over_s,
                window_end_us=now_us,
                value=held.mean if query.signal is SignalName.QUALITY_SCORE else float(held.scored),
                samples=held.scored,
                detector="quality",
                detail=_detail(held)
                if query.signal is SignalName.QUALITY_SCORE
                else {"unscored": float(held.unscored)},
            )
            for query in self._queries
            for group, held in self._tally.sums(query).items()
        ]


def _asked(queries: Collection[SignalQuery]) -> list[SignalQuery]:
    signals = (SignalName.QUALITY_SCORE, SignalName.SCORE_COUNT)
    return [q for q in dict.fromkeys(queries) if q.signal in signals]


def _detail(held: Sum) -> dict[str, float]:
    detail = {"unscored": float(held.unscored)}
    if (mean := held.mean) is not None:
        detail["ci_low"], detail["ci_high"] = wilson_interval(mean, held.scored)
    return detail
