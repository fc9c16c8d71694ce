"""Tumbling windows, second stage: partials of all partitions become closed windows."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from detectors.closed_window import Window
from detectors.errors import DetectorError, SketchError
from detectors.fences import Fences
from detectors.figures import COUNTS
from detectors.sketch import DEFAULT_ALPHA, DDSketch
from schemas.window import WindowBatch, WindowPartial

__all__ = ["WindowMerger"]

_EPOCHS_KEPT: Final = 16
_SEQUENCES_KEPT: Final = 4_096

_Key = tuple[int, int, tuple[tuple[str, str], ...]]


class WindowMerger:
    """Add partials up by window and series, and hand windows out once the watermark has passed.

    A window is handed out as revision 0 when it closes. A partial that comes later, within
    ``correction_us`` of event time after the window's end, opens it again: the whole window comes
    out at the next ``close`` with the next revision. What comes later still is left out and
    counted, never dropped in silence.

    A repeated batch (same source, epoch and sequence) is ignored, so that what Kafka delivers twice
    counts once; batches of one source may overtake each other. What an owner sends that another one
    has followed is ignored, too (``Fences``).

    Args:
        correction_us: how long a closed window can still be corrected.
        fences: who may count which source.
        alpha: the relative error that every sketch must have.

    Attributes:
        late_partials, late_requests: what came too late even for a correction.
        repeated_batches: batches that had been added before.
        fenced_batches: batches of an owner that had been followed by another.

    Raises:
        DetectorError: the duration is negative.

    """

    def __init__(self, correction_us: int, fences: Fences, alpha: float = DEFAULT_ALPHA) -> None:
        if correction_us < 0:
            raise DetectorError("correction time must not be negative")
        self.late_partials = 0
        self.late_requests = 0
        self.repeated_batches = 0
        self.fenced_batches = 0
        self._correction_us = correction_us
        self._fences = fences
        self._alpha = alpha
        self._watermark_us = 0
        self._windows: dict[_Key, _Sum] = {}
        self._seen: dict[str, OrderedDict[str, _Seen]] = {}

    @property
    def open_windows(self) -> int:
        """Return how many windows wait for the watermark, corrections included."""
        return sum(held.dirty for held in self._windows.values())

    def add(self, batch: WindowBatch, offset: int) -> None:
        """Add a batch of partials, all or nothing; ``offset`` is its place in the log.

        Raises:
            DetectorError: a window ends before its start, or a sketch is malformed or of another
                precision; nothing of the batch was added and its sequence may come again.

        """
        if batch.fence is None:
            self._fences.announce(batch.source, offset)
        elif self._fences.bar(batch.source, batch.fence, offset):
            self.fenced_batches += 1
            return
        seen = self._sequences(batch)
        if batch.sequence in seen:
            self.repeated_batches += 1
            return
        ready = [self._read(partial) for partial in batch.partials]
        seen.add(batch.sequence)
        for key, partial, sketches in ready:
            if partial.window_end_us + self._correction_us <= self._watermark_us:
                self.late_partials += 1
                self.late_requests += partial.requests
                continue
            self._windows.setdefault(key, _Sum()).add(partial, sketches)

    def close(self, watermark_us: int) -> list[Window]:
        """Return the windows that end at or before the watermark and changed, oldest first.

        A watermark older than the last one counts as the last one.
        """
        self._watermark_us = max(self._watermark_us, watermark_us)
        closed = []
        for key in sorted(k for k in self._windows if k[1] <= self._watermark_us):
            held = self._windows[key]
            if held.dirty:
                closed.append(held.window(key))
            if key[1] + self._correction_us <= self._watermark_us:
                del self._windows[key]
        return closed

    def _read(self, partial: WindowPartial) -> tuple[_Key, WindowPartial, dict[str, DDSketch]]:
        if partial.window_end_us <= partial.window_start_us:
            raise DetectorError("a window ends after its start")
        sketches = {name: DDSketch.from_state(s) for name, s in partial.sketches.items()}
        for name, sketch in sketches.items():
            if sketch.alpha != self._alpha:
                raise SketchError(f"{name}: alpha {sketch.alpha} does not merge with {self._alpha}")
        labels = tuple(sorted(partial.labels.items()))
        return (partial.window_start_us, partial.window_end_us, labels), partial, sketches

    def _sequences(self, batch: WindowBatch) -> _Seen:
        epochs = self._seen.setdefault(batch.source, OrderedDict())
        seen = epochs.setdefault(batch.epoch, _Seen())
        epochs.move_to_end(batch.epoch)
        if len(epochs) > _EPOCHS_KEPT:
            epochs.popitem(last=False)
        return seen


class _Seen:
    """The sequences that came, the newest one by one and all older ones as a floor."""

    __slots__ = ("_floor", "_order", "_recent")

    def __init__(self) -> None:
        self._floor = -1
        self._order: deque[int] = deque()
        self._recent: set[int] = set()

    def __contains__(self, sequence: int) -> bool:
        return sequence <= self._floor or sequence in self._recent

    def add(self, sequence: int) -> None:
        self._order.append(sequence)
        self._recent.add(sequence)
        if len(self._order) > _SEQUENCES_KEPT:
            oldest = self._order.popleft()
            self._recent.discard(oldest)
            self._floor = max(self._floor, oldest)


class _Sum:
    """What has been added up for one window of one series."""

    __slots__ = ("counts", "dirty", "revision", "sketches")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self.sketches: dict[str, DDSketch] = {}
        self.dirty = False
        self.revision = 0

    def add(self, partial: WindowPartial, sketches: dict[str, DDSketch]) -> None:
        for name in COUNTS:
            self.counts[name] += getattr(partial, name)
        for name, sketch in sketches.items():
            if name in self.sketches:
                self.sketches[name].merge(sketch)
            else:
                self.sketches[name] = sketch
        self.dirty = True

    def window(self, key: _Key) -> Window:
        """Return the window as it stands; a later correction does not touch what was returned."""
        start_us, end_us, labels = key
        revision = self.revision
        self.revision += 1
        self.dirty = False
        sketches = {name: sketch.copy() for name, sketch in self.sketches.items()}
        return Window(start_us, end_us, dict(labels), revision, **self.counts, sketches=sketches)
