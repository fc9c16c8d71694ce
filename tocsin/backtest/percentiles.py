"""Percentiles of closed windows, from the sketches that the store keeps of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from numpy.typing import NDArray

from detectors.errors import SketchError
from detectors.packed import PackedSketches
from detectors.sliding_quantiles import Lookback, SlidingQuantiles
from schemas.signal import SIGNALS, SignalName, SignalQuery
from streams.rows import SKETCH_COLUMNS
from tocsin.backtest.columns import BacktestError, rows
from tocsin.backtest.series import Floats, Ints

__all__ = ["PERCENTILES", "Percentiles", "sketched"]

PERCENTILES: Final[dict[SignalName, tuple[str, float]]] = {
    SignalName.TTFT_P95: ("ttft_s", 0.95),
    SignalName.E2E_P95: ("e2e_s", 0.95),
    SignalName.TPOT_P95: ("tpot_s", 0.95),
    SignalName.OUTPUT_TOKENS_PER_S: ("tpot_s", 0.5),
}
"""Which quantile of which sketch a signal is made of, as in ``detectors.measures``."""

_CELLS: Final = 2_000_000
_KEYS: Final = 600
_SHORTEST: Final = 30

Group = tuple[str, ...]


@dataclass(slots=True)
class _Table:
    """One sketched quantity by some labels: what each lookback says of each group."""

    groups: dict[Group, int]
    members: NDArray[np.int64]
    """The group of each series that is told apart at all, by its number."""
    lookbacks: list[Lookback]
    sliding: SlidingQuantiles
    values: list[Floats]
    samples: list[Ints]


class Percentiles:
    """What the rules ask of sketches, at the end of each window.

    Args:
        queries: those about ``PERCENTILES``.
        by: the labels by which series are told apart.
        series: their values, by number.
        window_us: length of a window.
        ends: how many windows there are.
    """

    def __init__(
        self,
        queries: list[SignalQuery],
        by: list[str],
        series: list[Group],
        window_us: int,
        ends: int,
    ) -> None:
        self._window_us = window_us
        asked: dict[tuple[str, Group], list[Lookback]] = {}
        for query in queries:
            name, level = PERCENTILES[SIGNALS[query.signal].of or query.signal]
            lookback = self._lookback(query.over_s, level)
            lookbacks = asked.setdefault((name, query.by), [])
            if lookback not in lookbacks:
                lookbacks.append(lookback)
        self._tables = {
            key: _table([by.index(label) for label in key[1]], series, lookbacks, ends)
            for key, lookbacks in asked.items()
        }

    @property
    def columns(self) -> dict[str, str]:
        """Return the columns of sketches that ``add`` needs, by quantity."""
        return {name: f"`{SKETCH_COLUMNS[name]}`" for name, _ in sorted(self._tables)}

    def add(self, found: pa.Table, series: Ints, places: Ints, low: int, size: int) -> None:
        """Take in the next stretch of windows, whole.

        Args:
            found: ``columns``, a row for each window of a series, in any order.
            series: the number of each row's series, shape (rows,).
            places: the place of each row's end among all ends, shape (rows,).
            low: the place of the stretch's first end.
            size: how many ends it has.

        Raises:
            BacktestError: sketches are damaged.
        """
        step = self._step()
        # Sorted here, a stretch at a time: the store's ORDER BY takes many times as long.
        order = np.argsort(places, kind="stable")
        starts = range(low, low + size, step)
        cuts = np.searchsorted(places[order], [*starts, low + size])
        for name in self.columns:
            column = found.column(name).combine_chunks()
            for first, rows_ in zip(starts, np.split(order, cuts[1:-1]), strict=True):
                last = min(first + step, low + size)
                try:
                    packed = PackedSketches(*_bytes(column.take(pa.array(rows_))))
                    self._slide(name, packed, series[rows_], places[rows_] - first, (first, last))
                except SketchError as error:
                    raise BacktestError(f"the store's sketches: {error}") from error

    def read(
        self, quantity: SignalName, over_s: float, by: Group, members: list[int]
    ) -> tuple[Floats, Ints]:
        """Return a signal at each window's end, NaN where it is unknown, and its samples.

        Args:
            quantity: one of ``PERCENTILES``.
            over_s: the lookback.
            by: the labels that were asked for.
            members: the series that the group is made of.
        """
        name, level = PERCENTILES[quantity]
        table = self._tables[name, by]
        place = table.lookbacks.index(self._lookback(over_s, level))
        group = int(table.members[members[0]])
        values, samples = table.values[place][group], table.samples[place][group]
        if quantity is SignalName.OUTPUT_TOKENS_PER_S:
            with np.errstate(divide="ignore"):
                values = np.where(values > 0, 1 / values, np.nan)
        return values, samples

    def _slide(
        self, name: str, packed: PackedSketches, series: Ints, windows: Ints, span: tuple[int, int]
    ) -> None:
        for (quantity, _), table in self._tables.items():
            if quantity != name:
                continue
            told = table.sliding.add(packed, table.members[series], windows, span[1] - span[0])
            for place, (values, samples) in enumerate(told):
                table.values[place][:, slice(*span)] = values
                table.samples[place][:, slice(*span)] = samples

    def _step(self) -> int:
        """Return how many windows are worked on at once: few enough to stay near the processor."""
        most = max(len(table.groups) for table in self._tables.values())
        return max(_SHORTEST, _CELLS // (most * _KEYS))

    def _lookback(self, over_s: float, level: float) -> Lookback:
        return Lookback(max(1, -(-round(over_s * 1e6) // self._window_us)), level)


def _table(places: list[int], series: list[Group], lookbacks: list[Lookback], ends: int) -> _Table:
    own = [tuple(one[place] for place in places) for one in series]
    groups = {group: number for number, group in enumerate(dict.fromkeys(own))}
    shape = len(groups), ends
    return _Table(
        groups,
        np.array([groups[group] for group in own], np.int64),
        lookbacks,
        SlidingQuantiles(len(groups), lookbacks),
        [np.full(shape, np.nan) for _ in lookbacks],
        [np.zeros(shape, np.int64) for _ in lookbacks],
    )


def sketched(client: Client, since_us: int, until_us: int) -> frozenset[str]:
    """Return the quantities of which some window of a time has kept a sketch."""
    held = set()
    for name in {name for name, _ in PERCENTILES.values()}:
        found = rows(
            client,
            """
            SELECT 1 FROM windows
            WHERE window_end > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
              AND window_end <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')
              AND window_start > fromUnixTimestamp64Micro({since:Int64}, 'UTC') - INTERVAL 1 DAY
              AND notEmpty({column:Identifier})
            LIMIT 1
            """,
            {"since": since_us, "until": until_us, "column": SKETCH_COLUMNS[name]},
        )
        if found:
            held.add(name)
    return frozenset(held)


def _bytes(array: pa.Array) -> tuple[NDArray[np.uint8], Ints]:
    """Return an array's bytes and where each row's begin, without a copy."""
    width = np.int64 if pa.types.is_large_binary(array.type) else np.int32
    _, offsets, data = array.buffers()
    if not len(array) or data is None:
        return np.empty(0, np.uint8), np.zeros(len(array) + 1, np.int64)
    places = np.frombuffer(offsets, width)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, np.uint8), places.astype(np.int64)
