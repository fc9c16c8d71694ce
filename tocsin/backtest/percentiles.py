"""Percentiles of closed windows, from the sketches that the store keeps of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from numpy.typing import NDArray

from detectors.errors import SketchError
from detectors.packed import PackedSketches
from detectors.sliding_quantiles import Lookback, SlidingQuantiles
from schemas.signal import SIGNALS, SignalName, SignalQuery
from streams.rows import SKETCH_COLUMNS
from tocsin.backtest.ahead import ahead
from tocsin.backtest.columns import BacktestError, fetch_arrow, newest, rows
from tocsin.backtest.series import Floats, Ints

__all__ = ["PERCENTILES", "Percentiles", "sketched"]

PERCENTILES: Final[dict[SignalName, tuple[str, float]]] = {
    SignalName.TTFT_P95: ("ttft_s", 0.95),
    SignalName.E2E_P95: ("e2e_s", 0.95),
    SignalName.TPOT_P95: ("tpot_s", 0.95),
    SignalName.OUTPUT_TOKENS_PER_S: ("tpot_s", 0.5),
}
"""Which quantile of which sketch a signal is made of, as in ``detectors.measures``."""

_CELLS: Final = 4_000_000
_KEYS: Final = 600
_SHORTEST: Final = 60
_LONGEST: Final = 720

Group = tuple[str, ...]


@dataclass(slots=True)
class _Table:
    """One sketched quantity by some labels: what each lookback says of each group."""

    groups: dict[Group, int]
    members: NDArray[np.int64]
    """The group of each series that is told apart at all, by its number."""
    lookbacks: list[Lookback] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    samples: list[Ints] = field(default_factory=list)


class Percentiles:
    """What the rules ask of sketches, at the end of each window.

    Args:
        queries: those about ``PERCENTILES``.
        by: the labels by which series are told apart.
        series: their values, by number.
        window_us: length of a window.
    """

    def __init__(
        self, queries: list[SignalQuery], by: list[str], series: list[Group], window_us: int
    ) -> None:
        self._window_us = window_us
        self._series = series
        self._tables: dict[tuple[str, Group], _Table] = {}
        for query in queries:
            name, level = PERCENTILES[SIGNALS[query.signal].of or query.signal]
            table = self._tables.get((name, query.by))
            if table is None:
                places = [by.index(label) for label in query.by]
                own = [tuple(one[place] for place in places) for one in series]
                groups = {group: number for number, group in enumerate(dict.fromkeys(own))}
                members = np.array([groups[group] for group in own], np.int64)
                table = self._tables[name, query.by] = _Table(groups, members)
            lookback = self._lookback(query.over_s, level)
            if lookback not in table.lookbacks:
                table.lookbacks.append(lookback)

    def load(
        self,
        client: Client,
        keys: dict[str, str],
        tail: str,
        hashes: NDArray[np.uint64],
        first_us: int,
        ends: Ints,
    ) -> None:
        """Read the sketches of all windows, a stretch at a time.

        Args:
            client: the store.
            keys: expressions of ``group``, the series, and ``row``, what makes a row.
            tail: FROM and WHERE, with parameters ``since`` and ``until``.
            hashes: the value of ``group`` of each series, ascending.
            first_us: the start of the first window.
            ends: the ends of all windows.

        Raises:
            BacktestError: the store does not answer, or sketches are damaged.
        """
        for table in self._tables.values():
            shape = len(table.groups), ends.size
            table.values = [np.full(shape, np.nan) for _ in table.lookbacks]
            table.samples = [np.zeros(shape, np.int64) for _ in table.lookbacks]
        slidings = {
            key: SlidingQuantiles(len(table.groups), table.lookbacks)
            for key, table in self._tables.items()
        }
        names = sorted({name for name, _ in self._tables})
        columns = {
            **keys,
            "end": "toUnixTimestamp64Micro(window_end)",
            "requests": "toInt64(requests)",
            **{name: f"`{SKETCH_COLUMNS[name]}`" for name in names},
        }
        stretch = self._stretch()
        chunks = [
            {
                "since": first_us + low * self._window_us,
                "until": first_us + min(low + stretch, ends.size) * self._window_us,
            }
            for low in range(0, ends.size, stretch)
        ]
        low = 0
        for found in ahead(lambda chunk: fetch_arrow(client, columns, tail, chunk), chunks):
            size = min(stretch, ends.size - low)
            try:
                self._add(found, slidings, hashes, first_us, low, size)
            except SketchError as error:
                raise BacktestError(f"the store's sketches: {error}") from error
            low += size

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

    def _add(
        self,
        found: pa.Table,
        slidings: dict[tuple[str, Group], SlidingQuantiles],
        hashes: NDArray[np.uint64],
        first_us: int,
        low: int,
        size: int,
    ) -> None:
        ends = _numbers(found, "end").astype(np.int64)
        row, requests = _numbers(found, "row"), _numbers(found, "requests").astype(np.int64)
        chosen = newest(row.astype(np.uint64), ends, requests)
        if chosen is not None:
            found, ends = found.take(pa.array(chosen)), ends[chosen]
        series = np.searchsorted(hashes, _numbers(found, "group").astype(np.uint64))
        windows = (ends - first_us) // self._window_us - 1 - low
        packed: dict[str, PackedSketches] = {}
        for key, table in self._tables.items():
            name = key[0]
            if name not in packed:
                packed[name] = _packed(found.column(name))
            told = slidings[key].add(packed[name], table.members[series], windows, size)
            for place, (values, samples) in enumerate(told):
                table.values[place][:, low : low + size] = values
                table.samples[place][:, low : low + size] = samples

    def _stretch(self) -> int:
        """Return how many windows are worked on at once: few enough to stay near the processor."""
        most = max(len(table.groups) for table in self._tables.values())
        return min(_LONGEST, max(_SHORTEST, _CELLS // (most * _KEYS)))

    def _lookback(self, over_s: float, level: float) -> Lookback:
        return Lookback(max(1, -(-round(over_s * 1e6) // self._window_us)), level)


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
              AND notEmpty({column:Identifier})
            LIMIT 1
            """,
            {"since": since_us, "until": until_us, "column": SKETCH_COLUMNS[name]},
        )
        if found:
            held.add(name)
    return frozenset(held)


def _numbers(table: pa.Table, name: str) -> NDArray[Any]:
    numbers: NDArray[Any] = table.column(name).to_numpy()
    return numbers


def _packed(column: pa.ChunkedArray) -> PackedSketches:
    """Return a column of packed sketches without copying what Arrow holds in one piece."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], pa.binary())
    width = np.int64 if pa.types.is_large_binary(array.type) else np.int32
    _, offsets, data = array.buffers()
    if not len(array) or data is None:
        return PackedSketches(np.empty(0, np.uint8), np.zeros(len(array) + 1, np.int64))
    places = np.frombuffer(offsets, width)[array.offset : array.offset + len(array) + 1]
    return PackedSketches(np.frombuffer(data, np.uint8), places.astype(np.int64))
