"""Closed windows to signals: every detector's word on ``llm.signals`` at each window's end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

import structlog

from detectors.closed_window import Window
from detectors.errors import SnapshotError
from detectors.figures import SKETCHES
from detectors.memory import Memory
from schemas.base import SCHEMA_VERSION
from schemas.signal import HELD, Signal, SignalName, SignalQuery
from schemas.topics import Topics
from streams import metrics
from streams.letters import Publishes
from streams.past import Past
from streams.retry import until_done

__all__ = ["Learns", "Resumes", "SignalSource", "SignalsAgent", "series_key"]

log = structlog.get_logger(__name__)


class SignalSource(Protocol):
    """Something that takes windows in and says signals at their end."""

    def take_in(self, windows: Sequence[Window]) -> None:
        """Take in closed windows, corrections included."""

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on."""

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return the signals at the end of a window."""


@runtime_checkable
class Resumes(Protocol):
    """A source that goes on where another worker's stopped."""

    def forget(self) -> None:
        """Begin anew: another worker goes on from here."""

    async def resume(self, past: Past, first_us: int) -> None:
        """Stand where another would that is about to evaluate ``first_us``.

        Raises:
            StoreUnavailableError, StoreRefusedError, AbandonedError: the store does not tell.
            SnapshotError: some of what was learnt cannot be read; the rest was taken over.
        """


@runtime_checkable
class Learns(Protocol):
    """A source that learns what the windows in the store do not tell."""

    def memories(self) -> list[Memory]:
        """Return what was learnt since the last call."""


def series_key(signal: Signal) -> str:
    """Return the topic key of a signal: its name and labels."""
    labels = ",".join(f"{name}={value}" for name, value in sorted(signal.labels.items()))
    return f"{signal.signal.value}{{{labels}}}"


class SignalsAgent:
    """Asks all sources at each window's end and publishes what they say, the lag last.

    The lag is said with each evaluation, and being last it tells the alert agent that the
    evaluation is complete. A source that fails is counted and silences no other.
    """

    def __init__(
        self, sources: Sequence[SignalSource], publisher: Publishes, past: Past | None = None
    ) -> None:
        self._sources = sources
        self._publisher = publisher
        self._past = past
        self._next: Collection[SignalQuery] | None = None
        self._resumed = past is None
        self._stored: dict[int, list[Window]] = {}
        self._learnt: list[Memory] = []
        metrics.FIGURES_RESUMED.set(self._resumed)

    def forget(self) -> None:
        """Forget all figures: another worker goes on with them."""
        self._resumed = self._past is None
        self._stored.clear()
        self._learnt.clear()
        for source in self._sources:
            if isinstance(source, Resumes):
                source.forget()
        metrics.FIGURES_RESUMED.set(self._resumed)

    async def newest_us(self) -> int:
        """Return the end of the newest window in the store, 0 if there is none.

        Raises:
            StoreUnavailableError, StoreRefusedError, AbandonedError: the store does not tell.
        """
        return await self._past.newest_us() if self._past is not None else 0

    async def resume(self, first_us: int) -> None:
        """Go on where another worker stopped; ``first_us`` is the first end to be evaluated.

        Raises:
            StoreUnavailableError, StoreRefusedError, AbandonedError: the store does not tell, so
                nothing may be evaluated.
        """
        if self._resumed or self._past is None:
            return
        self._take_over()
        self.forget()
        for source in self._sources:
            if isinstance(source, Resumes):
                try:
                    await source.resume(self._past, first_us)
                except SnapshotError as error:
                    _count_failure(source)
                    log.error("memory_unreadable", error=str(error)[:500])
        # The log may bring but a part of these again: their other records were acknowledged.
        async for windows in self._past.windows(first_us - 1, sketches=SKETCHES):
            self._stored[windows[0].end_us] = windows
        self._resumed = True
        metrics.FIGURES_RESUMED.set(1)
        log.info("figures_resumed", first_us=first_us, stored=len(self._stored))

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Let every source answer other queries, from the next evaluation on."""
        self._next = queries

    def take_in(self, windows: Sequence[Window]) -> None:
        """Give closed windows to every source.

        The first time, what the store holds of the same end comes with them: of two versions of a
        window that with more requests.
        """
        if self._stored and (stored := self._stored.pop(windows[0].end_us, None)) is not None:
            windows = _laid_under(stored, windows)
        for source in self._sources:
            try:
                source.take_in(windows)
            except Exception:
                log.exception("signal_source_fails", source=_count_failure(source))

    async def evaluate(self, end_us: int, *, lag_s: float | None) -> None:
        """Publish all signals at a window's end; waits for the broker as long as it takes."""
        self._take_over()
        for stored_us in [stored_us for stored_us in self._stored if stored_us <= end_us]:
            self.take_in(self._stored.pop(stored_us))
        signals: list[Signal] = []
        for source in self._sources:
            try:
                signals.extend(await source.signals(end_us))
            except Exception:
                log.exception("signal_source_fails", source=_count_failure(source))
        signals.append(_lag(end_us, lag_s, "watermark"))
        await self._keep()
        await self._publish(signals)

    async def hold(self, at_us: int, lag_s: float) -> None:
        """Say at this wall clock time that no evaluation can be made, and how late windows are."""
        await self._publish([_lag(at_us, lag_s, HELD)])

    async def _keep(self) -> None:
        for source in self._sources:
            if isinstance(source, Learns):
                self._learnt += source.memories()
        if self._past is not None:
            await self._past.keep(self._learnt)
        self._learnt.clear()

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


def _laid_under(stored: Sequence[Window], windows: Sequence[Window]) -> list[Window]:
    found = {tuple(sorted(window.labels.items())): window for window in stored}
    for window in windows:
        key = tuple(sorted(window.labels.items()))
        if key not in found or found[key].requests <= window.requests:
            found[key] = window
    return list(found.values())


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
