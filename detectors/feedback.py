"""What users say: the share of thumbs up over a lookback."""

from __future__ import annotations

from collections.abc import Collection

from detectors.quality import wilson_interval
from detectors.tally import Tally
from schemas.base import SCHEMA_VERSION, Labels
from schemas.feedback import FeedbackEvent, Thumb
from schemas.signal import Signal, SignalName, SignalQuery

__all__ = ["Feedback"]


class Feedback:
    """Answer queries for ``FEEDBACK_POSITIVE_RATE`` from feedback joined to its request.

    Feedback counts at the time when it was given. A user has one thumb for each request, the
    newest; a correction without a thumb is no verdict and is told as ``without_thumb``.

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

    def add(self, event: FeedbackEvent, labels: Labels) -> None:
        """Add feedback with the labels of the request that it is about."""
        score = None if event.thumb is None else float(event.thumb is Thumb.UP)
        key = (event.request_id, event.user_id) if event.thumb else event.feedback_id
        self._tally.add(key, event.at_us, labels, score, version=event.at_us)

    def evaluate(self, now_us: int) -> list[Signal]:
        """Return the shares of thumbs up in the lookbacks that end at this event time."""
        self._tally.evaluate(now_us)
        signals = []
        for query in self._queries:
            for group, held in self._tally.sums(query).items():
                detail = {"without_thumb": float(held.unscored)}
                if (share := held.mean) is not None:
                    detail["ci_low"], detail["ci_high"] = wilson_interval(share, held.scored)
                signals.append(
                    Signal(
                        schema_version=SCHEMA_VERSION,
                        signal=SignalName.FEEDBACK_POSITIVE_RATE,
                        labels=dict(zip(query.by, group, strict=True)),
                        over_s=query.over_s,
                        window_end_us=now_us,
                        value=share,
                        samples=held.scored,
                        detector="feedback",
                        detail=detail,
                    )
                )
        return signals


def _asked(queries: Collection[SignalQuery]) -> list[SignalQuery]:
    return [q for q in dict.fromkeys(queries) if q.signal == SignalName.FEEDBACK_POSITIVE_RATE]
