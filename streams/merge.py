"""Second stage of the windows: partials of all partitions become closed windows and their rows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, MutableMapping, Sequence
from itertools import groupby
from typing import Any, Final, Protocol

import structlog
from pydantic import ValidationError

from detectors.closed_window import Window
from detectors.errors import DetectorError
from detectors.fences import Fences
from detectors.merge import WindowMerger
from detectors.watermark import Watermark
from schemas.clock import Clock, Elapsed
from schemas.settings import StreamSettings
from schemas.topics import Topics
from schemas.window import WindowBatch
from streams import metrics
from streams.app import Hold
from streams.errors import AbandonedError
from streams.inserts import Inserts, insert_each
from streams.replay import source_name
from streams.rows import window_rows

__all__ = ["Evaluates", "MergeAgent"]

log = structlog.get_logger(__name__)

_QUIET_WINDOWS: Final = 3


class Evaluates(Protocol):
    """What makes signals of closed windows."""

    def forget(self) -> None:
        """Forget all figures: another worker goes on with them."""

    async def newest_us(self) -> int:
        """Return the end of the newest window in the store, 0 if there is none."""

    async def resume(self, first_us: int) -> None:
        """Go on where another worker stopped, before the first evaluation, of ``first_us``."""

    def take_in(self, windows: Sequence[Window]) -> None:
        """Take in closed windows, corrections included."""

    async def evaluate(self, end_us: int, *, lag_s: float | None) -> None:
        """Say all signals at a window's end."""

    async def hold(self, at_us: int, lag_s: float) -> None:
        """Say that no window closes, and how late they are."""


class MergeAgent:
    """Merges partials, closes windows by the watermark, and hands them on in order.

    A batch of partials is acknowledged only when no correction of its windows can come any more:
    a restart reads again what it needs to close and to correct windows whole. Held events wait for
    that, not for the agent: a rebalance does not wait for them.

    Args:
        settings: windows, lateness.
        store: where closed windows go.
        signals: what makes signals of them.
        clock: what time it is, to tell the lag.
        elapsed: how much time has passed, to tell silence.
        hold: lets Faust wait no more for events.
        owners: a table of each source's announcements, kept over restarts.
        partitions: how many partitions ``llm.requests`` has: each is a source to be heard.
    """

    def __init__(
        self,
        settings: StreamSettings,
        store: Inserts,
        signals: Evaluates,
        clock: Clock,
        elapsed: Elapsed,
        hold: Hold,
        owners: MutableMapping[str, str],
        partitions: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._store = store
        self._signals = signals
        self._clock = clock
        self._elapsed = elapsed
        self._hold = hold
        self._fences = Fences(owners)
        self._partitions = partitions
        self._lock = asyncio.Lock()
        self._owner = False
        self._begin()

    def _begin(self) -> None:
        settings = self._settings
        self._correction_us = settings.correction_us
        # Lateness is the first stage's matter: its watermarks have it taken off.
        self._watermark = Watermark(0)
        self._merger = WindowMerger(self._correction_us, self._fences)
        self._pending: deque[tuple[Any, int]] = deque()
        self._last_offset = -1
        self._closed: list[Window] = []
        self._evaluated_us = 0
        self._said_us = self._elapsed()
        self._asked_past = False

    async def assigned(self, owner: bool) -> None:
        """Keep the open windows of a topic that stays with this worker; drop those of one gone.

        Every partition has to be heard, or to be called idle by its new reader, before windows
        close again: those that nobody has begun to read may hold more of them.
        """
        async with self._lock:
            if self._owner and not owner:
                self._begin()
                self._signals.forget()
            self._owner = owner
            if owner:
                self._watermark.wake()
                self._observe_all(0)

    async def run(self, stream: Any) -> None:
        """Process ``llm.windows`` for ever; the Faust agent's body."""
        async for events in stream.noack_take(100, within=0.05):
            self._hold(events)
            for event in events:
                self._take_in(event)
            metrics.RECORDS.labels(topic=Topics.WINDOWS.name).inc(len(events))
            try:
                await self.advance()
            except AbandonedError:
                continue
            except Exception:
                # The windows wait in memory for the timer's next try, unacknowledged.
                log.exception("windows_wait")

    async def advance(self) -> None:
        """Close what the watermark has passed; also called by a timer, for silence moves it too."""
        async with self._lock:
            watermark_us = self._watermark.advance(self._elapsed())
            if self._owner and self._watermark.silent and not self._asked_past:
                watermark_us = await self._begin_in_silence()
            self._closed += self._merger.close(watermark_us)
            windows = self._closed
            await self._hand_on(windows, watermark_us)
            self._closed = []
            settled_us = watermark_us - self._correction_us
            while self._pending and self._pending[0][1] <= settled_us:
                self._pending.popleft()[0].ack()
            self._report(watermark_us, windows)

    def lag_s(self) -> float | None:
        """Return wall clock minus the end that windows should have reached, None before any."""
        watermark_us = self._watermark.value_us
        return max(0.0, (self._clock() - watermark_us) / 1e6) if watermark_us else None

    def _take_in(self, event: Any) -> None:
        if event.message.offset <= self._last_offset:
            return  # read again after a rebalance; the first reading's event stands for it
        self._last_offset = event.message.offset
        last_end_us = 0
        try:
            batch = WindowBatch.model_validate_json(event.value or b"")
            self._merger.add(batch, event.message.offset)
        except (ValidationError, DetectorError) as error:
            # Only a worker of another version writes what this one cannot read.
            metrics.REFUSED.labels(topic=Topics.WINDOWS.name).inc()
            log.error("window_batch_refused", offset=event.message.offset, error=str(error)[:500])
        else:
            now_us = self._elapsed()
            self._watermark.observe(batch.source, batch.watermark_us, now_us, idle=batch.idle)
            last_end_us = max((partial.window_end_us for partial in batch.partials), default=0)
        # In the log's order, whatever it was: commits must not pass what is still needed.
        self._pending.append((event, last_end_us))

    async def _hand_on(self, windows: Sequence[Window], watermark_us: int) -> None:
        if windows:
            await self._signals.resume(windows[0].end_us)
            refused = await insert_each(self._store, "windows", window_rows(windows))
            for row in refused:
                metrics.REFUSED.labels(topic=Topics.WINDOWS.name).inc()
                log.error("window_row_refused", error=row.detail[:500])
        for end_us, group in groupby(windows, key=lambda window: window.end_us):
            self._signals.take_in(list(group))
            if end_us > self._evaluated_us:
                await self._evaluate(end_us)
        # Silence is evaluated as well: rates fall, and what has no samples becomes unknown.
        window_us = self._settings.window_us
        boundary_us = watermark_us // window_us * window_us
        if self._evaluated_us and boundary_us > self._evaluated_us:
            await self._evaluate(boundary_us)

    async def _begin_in_silence(self) -> int:
        """Go on from the newest window in the store; return the watermark.

        Nothing has come since, and the log may hold none of it any more. Without this a worker that
        begins amid an outage would wait for a first event to tell that there are none.
        """
        newest_us = await self._signals.newest_us()
        self._asked_past = True
        if newest_us:
            await self._signals.resume(newest_us + self._settings.window_us)
            self._evaluated_us = newest_us
            self._observe_all(newest_us, idle=True)
        return self._watermark.advance(self._elapsed())

    def _observe_all(self, at_us: int, *, idle: bool = False) -> None:
        for partition in range(self._partitions()):
            self._watermark.observe(source_name(partition), at_us, self._elapsed(), idle=idle)

    async def _evaluate(self, end_us: int) -> None:
        await self._signals.evaluate(end_us, lag_s=self.lag_s())
        self._evaluated_us = end_us
        self._said_us = self._elapsed()

    async def tell(self) -> None:
        """Say the lag when it is long since windows were handed on; called by a timer.

        No evaluation would tell of it, and what hands them on may be waiting for the store.
        """
        lag_s, quiet_us = self.lag_s(), self._elapsed() - self._said_us
        if self._closed:  # the watermark is far ahead of what waits to be handed on
            lag_s = max(lag_s or 0.0, (self._clock() - self._closed[0].end_us) / 1e6)
            metrics.WATERMARK_LAG.set(lag_s)
        if lag_s is not None and quiet_us >= _QUIET_WINDOWS * self._settings.window_us:
            self._said_us = self._elapsed()
            await self._signals.hold(self._clock(), lag_s)

    def _report(self, watermark_us: int, windows: Sequence[Window]) -> None:
        corrections = sum(window.revision > 0 for window in windows)
        metrics.WINDOWS_CLOSED.labels(correction="no").inc(len(windows) - corrections)
        metrics.WINDOWS_CLOSED.labels(correction="yes").inc(corrections)
        metrics.LATE_REQUESTS.set(self._merger.late_requests)
        if watermark_us:
            metrics.WATERMARK_LAG.set(self.lag_s() or 0.0)
