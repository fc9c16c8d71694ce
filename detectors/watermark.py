"""How far event time has come, over all source partitions.

References:
    Tyler Akidau et al.: The Dataflow Model. PVLDB 8(12), 2015, section 2.3.

"""

from __future__ import annotations

from dataclasses import dataclass, replace

from detectors.errors import DetectorError

__all__ = ["Watermark"]


class Watermark:
    """Tell up to which event time all sources have been heard, lateness granted.

    The watermark is the least over the sources of (greatest event time - lateness). A source that
    said it is idle, for it is read to its end and silent, does not hold it back; one that merely is
    not heard of does: nobody reads it, or with a lag, and what it holds is still to come. When all
    are idle the watermark goes on with the time that passes from the greatest event time known, so
    that the last window closes too. It never goes back, whatever events or clocks do. ``now_us`` is
    best a monotonic clock's: a wall clock that is put forward takes the watermark with it. One that
    jumps back stands still until the next call.

    Args:
        lateness_us: how long events may be late, in microseconds of event time.
        future_us: when given, an event time further ahead of ``now_us`` than this, then a wall
            clock's, counts as just so far ahead.

    Raises:
        DetectorError: a duration is negative.

    Examples:
        >>> watermark = Watermark(lateness_us=2_000_000)
        >>> watermark.observe("requests-0", 100_000_000, now_us=0)
        >>> watermark.observe("requests-1", 90_000_000, now_us=0)
        >>> watermark.advance(now_us=1_000_000)
        88000000
        >>> watermark.observe("requests-0", 103_000_000, now_us=4_000_000)
        >>> watermark.observe("requests-1", 90_000_000, now_us=5_000_000, idle=True)
        >>> watermark.advance(now_us=5_000_000)
        101000000

    """

    def __init__(self, lateness_us: int, future_us: int | None = None) -> None:
        if min(lateness_us, future_us or 0) < 0:
            raise DetectorError("lateness and future time must not be negative")
        self._lateness_us = lateness_us
        self._future_us = future_us
        self._sources: dict[str, _Source] = {}
        self._watermark = 0
        self._last_now: int | None = None
        self._elapsed = 0  # wall clock that has passed, without its jumps back

    @property
    def value_us(self) -> int:
        """Return the watermark of the last ``advance``, 0 before anything is known."""
        return self._watermark

    @property
    def silent(self) -> bool:
        """Tell whether every source is idle, and no event time is known of any."""
        every = self._sources.values()
        return bool(every) and all(s.idle and not s.max_event_us for s in every)

    def observe(self, source: str, max_event_us: int, now_us: int, *, idle: bool = False) -> None:
        """Note the greatest event time of a source's newest batch.

        With ``max_event_us`` 0 it announces a source of which nothing is known yet: it holds the
        watermark where it is until it speaks or is idle.
        """
        self._tick(now_us)
        if self._future_us is not None:
            max_event_us = min(max_event_us, now_us + self._future_us)
        seen = self._elapsed
        known = self._sources.get(source)
        if known is not None:
            max_event_us = max(max_event_us, known.max_event_us)
            seen = known.seen if idle else seen
        self._sources[source] = _Source(max_event_us, seen, idle)

    def wake(self) -> None:
        """Take no source for idle any more until it says so again: readers may have changed."""
        for source, known in self._sources.items():
            self._sources[source] = replace(known, idle=False)

    def forget(self, source: str) -> None:
        """Drop a source that another worker reads from now on; the watermark stays."""
        self._sources.pop(source, None)

    def advance(self, now_us: int) -> int:
        """Return the watermark at this time, in UTC microseconds of event time."""
        self._tick(now_us)
        if self._sources:
            self._watermark = max(self._watermark, self._reached() - self._lateness_us)
        return self._watermark

    def _reached(self) -> int:
        every = self._sources.values()
        active = [s.max_event_us for s in every if not s.idle]
        if active:
            return min(active)
        newest = max(s.max_event_us for s in every)
        if not newest:
            return 0
        return newest + self._elapsed - max(s.seen for s in every)

    def _tick(self, now_us: int) -> None:
        if self._last_now is not None:
            self._elapsed += max(0, now_us - self._last_now)
        self._last_now = now_us


@dataclass(frozen=True, slots=True)
class _Source:
    max_event_us: int
    seen: int
    idle: bool
