"""What detectors would have said of the closed windows in the store, for figures that add up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from clickhouse_connect.driver.client import Client

from detectors.baseline import BaselineSettings
from schemas.derived import BURNS, RATIOS
from schemas.signal import SIGNALS, SignalName, SignalQuery
from tocsin.backtest.columns import fetch, rows
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
}
_CHANGES: Final = ("requests", "tokens_unknown", "input_tokens", "output_tokens", "cost_nano_usd")
_DIMENSIONS: Final = ("provider", "model", "model_version", "route", "feature")
_ROW: Final = (
    "cityHash64(model, model_version, provider, route, feature, mapKeys(labels), mapValues(labels))"
)
"""What, with its start, makes a row of the table: several of them are one window's revisions."""
_CHUNK_US: Final = 86_400_000_000

COMPUTABLE: Final = frozenset(
    {
        *_NEEDS,
        *(BURNS[name] for name in BURNS if name in _NEEDS),
        *(RATIOS[name] for name in RATIOS if name in _NEEDS),
    }
)
"""The signals that windows without their sketches can answer."""


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
        self._figures: dict[str, Any] = {}
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
        key = "cityHash64(tuple({}))".format(", ".join(label.values()) or "1")
        # Without FINAL, which is slow over strings: numpy drops the rows that others replaced.
        tail = """
            FROM windows
            WHERE window_end > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
              AND window_end <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')
        """
        time = {"since": since_us, "until": until_us}
        chosen = ", ".join([key, *label.values()])
        names = rows(self._client, f"SELECT DISTINCT {chosen} {tail}", time)
        hashes = np.array(sorted(int(row[0]) for row in names), np.uint64)
        known = {int(row[0]): tuple(str(part) for part in row[1:]) for row in names}
        if not names:
            return
        # The worker evaluates from the first window on; before it nothing is covered.
        ((first_us,),) = rows(
            self._client, f"SELECT min(toUnixTimestamp64Micro(window_start)) {tail}", time
        )
        self._first_us = int(first_us)
        self.ends = np.arange(self._first_us + self.window_us, until_us + 1, self.window_us)
        self._groups = [known[int(number)] for number in hashes]
        shape = len(self._groups), self.ends.size
        self._figures = {
            name: np.zeros(shape, np.int64 if _FIGURES[name] == "Int64" else np.int32)
            for name in needed
        }
        columns = {
            "group": (key, "UInt64"),
            "end": ("toUnixTimestamp64Micro(window_end)", "Int64"),
            "row": (_ROW, "UInt64"),
            **{name: (_EXPRESSIONS.get(name, f"`{name}`"), _FIGURES[name]) for name in needed},
        }
        for low_us in range(since_us, until_us, _CHUNK_US):
            chunk = {"since": low_us, "until": min(until_us, low_us + _CHUNK_US)}
            self._add(fetch(self._client, columns, tail, chunk), hashes)

    def _add(self, found: Any, hashes: Any) -> None:
        newest = np.lexsort((-found["requests"].astype(np.int64), found["row"], found["end"]))
        found = found[newest]
        if found.size:
            same = (found["row"][1:] == found["row"][:-1]) & (found["end"][1:] == found["end"][:-1])
            found = found[np.append(True, ~same)]
        group = np.searchsorted(hashes, found["group"])
        place = (found["end"] - self._first_us) // self.window_us - 1
        flat = group * self.ends.size + place
        order = np.argsort(flat, kind="stable")
        flat = flat[order]
        firsts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1])) if flat.size else flat
        for name, matrix in self._figures.items():
            if flat.size:
                sums = np.add.reduceat(found[name][order].astype(np.int64), firsts)
                matrix.reshape(-1)[flat[firsts]] += sums.astype(matrix.dtype)

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
        values, samples, details = self._read(quantity, query.over_s, numbers, covered_s)
        baselines = None
        if signal in BURNS.values():
            short, _, _ = self._read(quantity, query.short_s, numbers, covered_s)
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
        self, quantity: SignalName, over_s: float, numbers: list[int], covered_s: Floats
    ) -> tuple[Floats, Ints, dict[str, Floats]]:
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
