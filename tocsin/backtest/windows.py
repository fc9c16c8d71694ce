"""What detectors would have said of the closed windows in the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from numpy.typing import NDArray

from detectors.baseline import BaselineSettings
from schemas.derived import BURNS, RATIOS
from schemas.signal import SIGNALS, SignalName, SignalQuery
from tocsin.backtest.ahead import ahead
from tocsin.backtest.columns import fetch_arrow, newest, numbers_of, rows
from tocsin.backtest.percentiles import PERCENTILES, Percentiles
from tocsin.backtest.series import Floats, Ints, Series
from tocsin.backtest.trailing import compare

__all__ = ["COMPUTABLE", "Windows"]

_FIGURES: Final = {
    "requests": "UInt32",
    "errors": "UInt32",
    "aborted": "UInt32",
    "routed": "UInt32",
    "fallbacks": "UInt32",
    "price_unknown": "UInt32",
    "cost_unknown": "UInt32",
    "tokens_unknown": "UInt32",
    "input_tokens": "Int64",
    "output_tokens": "Int64",
    "cost_nano_usd": "Int64",
}
_EXPRESSIONS: Final = {
    "cost_nano_usd": "round(toFloat64(cost_usd) * 1e9)",
    "routed": "if(route = '', 0, requests)",
    "fallbacks": "if(route = 'fallback', requests, 0)",
}
_NEEDS: Final = {
    SignalName.ERROR_RATE: ("requests", "errors"),
    SignalName.ABORT_RATE: ("requests", "aborted"),
    SignalName.FALLBACK_RATE: ("routed", "fallbacks"),
    SignalName.UNKNOWN_PRICE_RATE: ("requests", "price_unknown"),
    SignalName.REQUEST_RATE: ("requests",),
    SignalName.REQUEST_COUNT: ("requests",),
    SignalName.COST_RATE: ("requests", "cost_unknown", "cost_nano_usd"),
    **dict.fromkeys(PERCENTILES, ("requests",)),
}
_CHANGES: Final = ("requests", "tokens_unknown", "input_tokens", "output_tokens", "cost_nano_usd")
_DIMENSIONS: Final = ("provider", "model", "model_version", "route", "feature")
_ROW: Final = (
    "cityHash64(model, model_version, provider, route, feature, mapKeys(labels), mapValues(labels))"
)
"""What, with its start, makes a row of the table: several of them are one window's revisions."""
_ROWS: Final = 1_000_000
_LEAST: Final = 360

COMPUTABLE: Final = frozenset(
    {
        *_NEEDS,
        *(BURNS[name] for name in BURNS if name in _NEEDS),
        *(RATIOS[name] for name in RATIOS if name in _NEEDS),
    }
)
"""The signals that windows can answer; the percentiles among them need their sketches."""


class Windows:
    """The windows that end in (since, until], summed by the labels that the queries ask for.

    Args:
        client: the store.
        queries: those of ``COMPUTABLE`` are answered.
        since_us: from when windows are read; before it nothing is known.
        until_us: up to when.
        window_us: length of a window.
    """

    def __init__(
        self,
        client: Client,
        queries: list[SignalQuery],
        since_us: int,
        until_us: int,
        window_us: int,
    ) -> None:
        self._queries = [q for q in queries if q.signal in COMPUTABLE]
        self._client = client
        self.window_us = window_us
        self._first_us = 0
        self.ends: Ints = np.empty(0, np.int64)
        self._by = sorted({label for query in self._queries for label in query.by})
        self._groups: list[tuple[str, ...]] = []
        self._series: NDArray[np.uint64] = np.empty(0, np.uint64)  # each row's own, by its hash
        self._members: Ints = np.empty(0, np.int64)  # and the group that it belongs to
        self._figures: dict[str, Any] = {}
        self._percentiles: Percentiles | None = None
        if self._queries:
            self._load(since_us, until_us)

    def series(self, query: SignalQuery) -> Iterator[Series]:
        """Yield what would have been said of each series."""
        places = [self._by.index(label) for label in query.by]
        members: dict[tuple[str, ...], list[int]] = {}
        for number, group in enumerate(self._groups):
            members.setdefault(tuple(group[place] for place in places), []).append(number)
        for labels, numbers in members.items():
            yield self._one(query, dict(zip(query.by, labels, strict=True)), numbers)

    def _load(self, since_us: int, until_us: int) -> None:
        needed = {"requests"}
        for query in self._queries:
            needed |= set(_NEEDS[SIGNALS[query.signal].of or query.signal])
            if query.signal in RATIOS.values():
                needed |= set(_CHANGES)
        label = {
            name: f"`{name}`" if name in _DIMENSIONS else f"labels['{name}']" for name in self._by
        }
        # Without FINAL, which is slow over strings: numpy drops the rows that others replaced.
        tail = """
            FROM windows
            WHERE window_end > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
              AND window_end <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')
              AND window_start > fromUnixTimestamp64Micro({since:Int64}, 'UTC') - INTERVAL 1 DAY
              AND window_start < fromUnixTimestamp64Micro({until:Int64}, 'UTC')
        """
        time = {"since": since_us, "until": until_us}
        chosen = ", ".join([_ROW, *label.values()])
        names = rows(self._client, f"SELECT DISTINCT {chosen} {tail}", time)
        if not names:
            return
        known = {int(row[0]): tuple(str(part) for part in row[1:]) for row in names}
        self._series = np.array(sorted(known), np.uint64)
        self._groups = sorted(set(known.values()))
        number = {group: place for place, group in enumerate(self._groups)}
        self._members = np.array([number[known[int(one)]] for one in self._series], np.int64)
        # The worker evaluates from the first window on; before it nothing is covered.
        ((first_us, count),) = rows(
            self._client,
            f"SELECT min(toUnixTimestamp64Micro(window_start)), count() {tail}",
            time,
        )
        self._first_us = int(first_us)
        self.ends = np.arange(self._first_us + self.window_us, until_us + 1, self.window_us)
        shape = len(self._groups), self.ends.size
        self._figures = {
            name: np.zeros(shape, np.int64 if _FIGURES[name] == "Int64" else np.int32)
            for name in needed
        }
        sketched = [q for q in self._queries if (SIGNALS[q.signal].of or q.signal) in PERCENTILES]
        if sketched:
            self._percentiles = Percentiles(
                sketched, self._by, self._groups, self.window_us, self.ends.size
            )
        self._read_all(needed, tail, int(count))

    def _read_all(self, needed: set[str], tail: str, count: int) -> None:
        columns = {
            "end": "toUnixTimestamp64Micro(window_end)",
            "row": _ROW,
            **{
                name: f"ifNull(to{_FIGURES[name]}({_EXPRESSIONS.get(name, f'`{name}`')}), 0)"
                for name in needed
            },
        }
        if self._percentiles is not None:
            columns |= self._percentiles.columns
        # The table is ordered by series: little at a time would read most of it again and again.
        most = max(_LEAST, _ROWS * self.ends.size // max(1, count))
        spans = [(low, min(low + most, self.ends.size)) for low in range(0, self.ends.size, most)]

        def read(span: tuple[int, int]) -> pa.Table:
            since, until = (self._first_us + place * self.window_us for place in span)
            return fetch_arrow(self._client, columns, tail, {"since": since, "until": until})

        for span, found in zip(spans, ahead(read, spans), strict=True):
            self._add(found, span)

    def _add(self, found: pa.Table, span: tuple[int, int]) -> None:
        low, high = span
        row, ends = numbers_of(found, "row"), numbers_of(found, "end").astype(np.int64)
        chosen = newest(row, ends, numbers_of(found, "requests").astype(np.int64))
        if chosen is not None:
            found, row, ends = found.take(pa.array(chosen)), row[chosen], ends[chosen]
        group = self._members[np.searchsorted(self._series, row)]
        place = (ends - self._first_us) // self.window_us - 1
        flat = group * (high - low) + place - low
        for name, matrix in self._figures.items():
            # In float64, exact up to 2**53: nine million dollars in one window of a group.
            sums = np.bincount(flat, numbers_of(found, name), len(self._groups) * (high - low))
            matrix[:, low:high] = sums.reshape(-1, high - low)
        if self._percentiles is not None:
            self._percentiles.add(found, group, place, low, high - low)

    def _sum(self, name: str, numbers: list[int], over_s: float) -> Ints:
        """Return a figure's sum over the lookback that ends at each window's end."""
        row = self._figures[name][numbers].sum(axis=0, dtype=np.int64)
        total = np.cumsum(row)
        windows = max(1, -(-round(over_s * 1e6) // self.window_us))
        late = np.zeros_like(total)
        late[windows:] = total[:-windows]
        result: Ints = total - late
        return result

    def _one(self, query: SignalQuery, labels: dict[str, str], numbers: list[int]) -> Series:
        signal = query.signal
        quantity = SIGNALS[signal].of or signal
        requests = self._sum("requests", numbers, query.over_s)
        begun = np.maximum.accumulate(requests > 0)
        covered_s = np.minimum(query.over_s, (self.ends - self._first_us) / 1e6)
        values, samples, details = self._read(quantity, query.over_s, numbers, covered_s, query.by)
        baselines = None
        if signal in BURNS.values():
            short, _, _ = self._read(quantity, query.short_s, numbers, covered_s, query.by)
            values = np.fmin(values, short) + 0 * values + 0 * short  # unknown if either is
            values = values / (1 - query.objective)
        elif signal in RATIOS.values():
            tokens = self._sum("input_tokens", numbers, query.over_s) + self._sum(
                "output_tokens", numbers, query.over_s
            )
            told = requests - self._sum("tokens_unknown", numbers, query.over_s)
            cost = self._sum("cost_nano_usd", numbers, query.over_s)
            with np.errstate(divide="ignore", invalid="ignore"):
                figures = np.stack(
                    [
                        values,
                        _known(requests / covered_s),
                        _known(tokens / told),
                        _known(cost / 1e9 / tokens),
                    ]
                )
            values, baselines, more = compare(
                quantity,
                self.ends,
                figures,
                samples,
                round(query.over_s * 1e6),
                self.window_us,
                BaselineSettings(),
            )
            details = {**details, **more}
        return Series(
            query,
            labels,
            self.ends[begun],
            values[begun],
            samples[begun],
            None if baselines is None else baselines[begun],
            {name: numbers_[begun] for name, numbers_ in details.items()},
        )

    def _read(
        self,
        quantity: SignalName,
        over_s: float,
        numbers: list[int],
        covered_s: Floats,
        by: tuple[str, ...],
    ) -> tuple[Floats, Ints, dict[str, Floats]]:
        if self._percentiles is not None and quantity in PERCENTILES:
            return *self._percentiles.read(quantity, over_s, by, numbers), {}
        requests = self._sum("requests", numbers, over_s)
        with np.errstate(divide="ignore", invalid="ignore"):
            if quantity is SignalName.COST_RATE:
                known = requests - self._sum("cost_unknown", numbers, over_s)
                usd = self._sum("cost_nano_usd", numbers, over_s) / 1e9
                values = np.where(known > 0, usd / covered_s * 3_600, np.nan)
                return values, np.maximum(known, 0), {"usd": usd}
            if quantity is SignalName.REQUEST_RATE:
                values = np.where(requests > 0, requests / covered_s, np.nan)
            elif quantity is SignalName.REQUEST_COUNT:
                values = np.where(covered_s >= over_s, requests.astype(np.float64), np.nan)
            else:
                of, count = _NEEDS[quantity]
                known, bad = (self._sum(name, numbers, over_s) for name in (of, count))
                values = np.where(known > 0, bad / known, np.nan)
                details = {count: bad.astype(np.float64)}
                if quantity is SignalName.FALLBACK_RATE:
                    details["covered_s"] = covered_s
                return values, known, details
        return values, requests, {"covered_s": covered_s}


def _known(values: Floats) -> Floats:
    """Return the values with what is no number made unknown."""
    return np.where(np.isfinite(values), values, np.nan)
