"""Closed windows to signals: every detector's word on ``llm.signals`` at each window's end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import structlog

from detectors.closed_window import Window
from schemas.base import SCHEMA_VERSION
from schemas.signal import HELD, Signal, SignalName, SignalQuery
from schemas.topics import Topics
from streams import metrics
from streams.letters import Publishes
from streams.retry import until_done

__all__ = ["SignalSource", "SignalsAgent", "series_key"]

log = structlog.get_logger(__name__)


class SignalSource(Protocol):
    """Something that takes windows in and says signals at their end."""

    def take_in(self, windows: Sequence[Window]) -> None:
        """Take in closed windows, corrections included."""

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on."""

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return the signals at the end of a window."""


def series_key(signal: Signal) -> str:
    """Return the topic key of a signal: its name and labels."""
    labels = ",".join(f"{name}={value}" for name, value in sorted(signal.labels.items()))
    return f"{signal.signal.value}{{{labels}}}"


class SignalsAgent:
    """Asks all sources at each window's end and publishes what they say, the lag last.

    The lag is said with each evaluation, and being last it tells the alert agent that the
    evaluation is complete. A source that fails is counted and silences no other.
    """

    def __init__(self, sources: Sequence[SignalSource], publisher: Publishes) -> None:
        self._sources = sources
        self._publisher = publisher
        self._next: Collection[SignalQuery] | None = None

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Let every source answer other queries, from the next evaluation on."""
        self._next = queries

    def take_in(self, windows: Sequence[Window]) -> None:
        """Give closed windows to every source."""
        for source in self._sources:
            try:
                source.take_in(windows)
            except Exception:
                log.exception("signal_source_fails", source=_count_failure(source))

    async def evaluate(self, end_us: int, *, lag_s: float | None) -> None:
        """Publish all signals at a window's end; waits for the broker as long as it takes."""
        self._take_over()
        signals: list[Signal] = []
        for source in self._sources:
            try:
                signals.extend(await source.signals(end_us))
            except Exception:
                log.exception("signal_source_fails", source=_count_failure(source))
        signals.append(_lag(end_us, lag_s, "watermark"))
        await self._publish(signals)

    async def hold(self, at_us: int, lag_s: float) -> None:
        """Say at this wall clock time that no evaluation can be made, and how late windows are."""
        await self._publish([_lag(at_us, lag_s, HELD)])

    async def _publish(self, signals: Sequence[Signal]) -> None:
        items = [(series_key(signal), signal) for signal in signals]
        await until_done("signals", lambda: self._publisher.send_many(Topics.SIGNALS, items))

    def _take_over(self) -> None:
        queries, self._next = self._next, None
        if queries is None:
            return
        for source in self._sources:
            try:
                source.reask(queries)
            except Exception:
                log.exception("signal_source_fails", source=_count_failure(source))


def _lag(at_us: int, lag_s: float | None, detector: str) -> Signal:
    return Signal(
        schema_version=SCHEMA_VERSION,
        signal=SignalName.WATERMARK_LAG,
        labels={},
        over_s=0,
        window_end_us=at_us,
        value=lag_s,
        samples=1,
        detector=detector,
    )


def _count_failure(source: SignalSource) -> str:
    name = type(source).__name__.removesuffix("Agent").lower()
    metrics.DETECTOR_FAILURES.labels(source=name).inc()
    return name
