"""Tumbling windows by event time, first stage: one partition's share, to be added up elsewhere."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.errors import DetectorError
from detectors.figures import COUNTS, SKETCHES
from detectors.sketch import DDSketch
from schemas.columns import EVENT_FIELDS, PRICE_UNKNOWN, EventColumns
from schemas.window import WindowPartial

__all__ = ["OVERFLOW", "WindowStore", "window_start"]

OVERFLOW: Final = "other"
"""The label of every dimension of the series that takes in those that are too many."""

_MOST_CODES: Final = 2**40
_HEARD_US: Final = 3_600_000_000


def window_start(end_time_us: NDArray[np.int64], size_us: int) -> NDArray[np.int64]:
    """Return the start of the window that each time falls into; windows align to the epoch.

    Args:
        end_time_us: UTC microseconds, int64, shape (n,).
        size_us: length of a window.

    Examples:
        >>> import numpy as np
        >>> window_start(np.array([0, 9_999_999, 10_000_000]), 10_000_000).tolist()
        [0, 0, 10000000]

    """
    return end_time_us - end_time_us % size_us


class WindowStore:
    """Gather one source partition's events by window and series until they are drained.

    A request belongs to the window of its end, for only then all is known about it. Latencies of
    failed and aborted requests count too, as far as they are known: what is sketched are exactly
    the rows whose column is not NULL, so that ClickHouse's ``quantileExact`` over the same rows
    gives the same figure.

    Labels come from clients, who can make up as many as they like: above ``max_series`` that were
    heard of within the last hour, requests of further ones are gathered under ``OVERFLOW``.

    Args:
        size_us: length of a window, in microseconds.
        dimensions: the event fields that make a series; an absent label is the empty string.
        max_series: how many series are kept apart.

    Attributes:
        overflowed: requests whose series was one too many.

    Raises:
        DetectorError: the size is not positive, or events have no such dimension.

    """

    def __init__(self, size_us: int, dimensions: tuple[str, ...], max_series: int = 5_000) -> None:
        if size_us <= 0:
            raise DetectorError(f"a window's size must be positive, not {size_us}")
        if strange := sorted(set(dimensions) - set(EVENT_FIELDS)):
            raise DetectorError(f"events have no such dimension: {', '.join(strange)}")
        self._size_us = size_us
        self._dimensions = dimensions
        self._groups: dict[tuple[int, tuple[str, ...]], _Group] = {}
        self._max_series = max_series
        self._heard: OrderedDict[tuple[str, ...], int] = OrderedDict()
        self.overflowed = 0

    def add(self, columns: EventColumns) -> None:
        """Add a micro-batch."""
        n = len(columns)
        if not n:
            return
        series, labels = self._factorise(columns)
        starts = window_start(columns.ints("end_time_us"), self._size_us)
        order = np.lexsort((series, starts))
        series, starts = series[order], starts[order]
        changes = (series[1:] != series[:-1]) | (starts[1:] != starts[:-1])
        firsts = np.concatenate(([0], np.flatnonzero(changes) + 1))
        sums = np.add.reduceat(_rows(columns)[order], firsts, axis=0)
        values = [(name, columns.floats(name)[order]) for name in SKETCHES]
        lows = firsts.tolist()
        for i, (start, low, high) in enumerate(
            zip(starts[firsts].tolist(), lows, [*lows[1:], n], strict=True)
        ):
            key = (start, self._admit(labels(order[low]), start, high - low))
            held = self._groups.get(key)
            if held is None:
                held = self._groups[key] = _Group()
            held.counts += sums[i]
            for name, column in values:
                held.sketches[name].add(column[low:high])

    def drain(self) -> tuple[WindowPartial, ...]:
        """Return what was added since the last drain, by window and series, and forget it."""
        partials = tuple(
            self._partial(start, labels, self._groups[start, labels])
            for start, labels in sorted(self._groups)
        )
        self._groups = {}
        return partials

    def _admit(self, series: tuple[str, ...], start_us: int, requests: int) -> tuple[str, ...]:
        """Return the series, or the one for those that are too many."""
        heard = self._heard
        if series not in heard and len(heard) >= self._max_series:
            oldest, last_us = next(iter(heard.items()))
            if start_us - last_us < _HEARD_US:
                self.overflowed += requests
                return (OVERFLOW,) * len(series)
            del heard[oldest]
        heard[series] = max(start_us, heard.get(series, 0))
        heard.move_to_end(series)
        return series

    def _factorise(
        self, columns: EventColumns
    ) -> tuple[NDArray[np.int64], Callable[[int], tuple[str, ...]]]:
        """Return a number for each event's series, and what gives the labels of an event."""
        dimensions = [columns.codes(name) for name in self._dimensions]
        series, width = np.zeros(len(columns), np.int64), 1
        for codes, texts in dimensions:
            if width * len(texts) > _MOST_CODES:
                _, series = np.unique(series, return_inverse=True)
                width = len(columns)
            series = series * len(texts) + codes
            width *= len(texts)
        return series, lambda place: tuple(texts[codes[place]] for codes, texts in dimensions)

    def _partial(self, start: int, labels: tuple[str, ...], group: _Group) -> WindowPartial:
        # Without validation: these figures are our own, and who reads them validates.
        return WindowPartial.model_construct(
            window_start_us=start,
            window_end_us=start + self._size_us,
            labels=dict(zip(self._dimensions, labels, strict=True)),
            sketches={n: s.to_state() for n, s in group.sketches.items() if s.count},
            **dict(zip(COUNTS, group.counts.tolist(), strict=True)),  # type: ignore[arg-type]
        )


class _Group:
    __slots__ = ("counts", "sketches")

    def __init__(self) -> None:
        self.counts = np.zeros(len(COUNTS), np.int64)
        self.sketches = {name: DDSketch() for name in SKETCHES}


def _rows(columns: EventColumns) -> NDArray[np.int64]:
    """Return each event's share of COUNTS, int64, shape (n, len(COUNTS))."""
    read = columns.floats("input_tokens")
    cached = columns.floats("cached_input_tokens")
    written = columns.floats("output_tokens")
    cost = columns.cost_nano_usd
    return np.column_stack(
        [
            np.ones(len(columns), np.int64),
            columns.failed,
            columns.rejected,
            columns.bools("aborted"),
            np.nan_to_num(read).astype(np.int64),
            np.nan_to_num(cached).astype(np.int64),
            np.nan_to_num(written).astype(np.int64),
            np.isnan(read) | np.isnan(written),
            np.where(cost >= 0, cost, 0),
            cost < 0,
            cost == PRICE_UNKNOWN,
        ]
    ).astype(np.int64, copy=False)
