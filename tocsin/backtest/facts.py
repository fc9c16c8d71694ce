"""What scores, thumbs and engines would have said, from the tables that keep them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from clickhouse_connect.driver.client import Client

from schemas.signal import SignalName, SignalQuery
from tocsin.backtest.columns import fetch, rows
from tocsin.backtest.series import Floats, Ints, Series

__all__ = ["TELLABLE", "Facts"]

_UNIT: Final = 10**9


@dataclass(frozen=True, slots=True)
class _Table:
    """Where facts are: one row each, with a time, a number or nothing, and labels."""

    source: str
    time: str
    number: str
    label: str
    """How a label is read; ``{0}`` is its name."""
    labels: frozenset[str] | None = None
    """The labels that there are; None is any."""
    missing: str = ""
    """What a fact without a number counts as, in ``detail``."""


_ENGINE: Final = {
    SignalName.GPU_UTILIZATION: "gpu_utilization",
    SignalName.KV_CACHE_USAGE: "kv_cache_usage",
    SignalName.WAITING_REQUESTS: "waiting_requests",
    SignalName.PREFIX_CACHE_HIT_RATE: "prefix_cache_hit_rate",
    SignalName.SPEC_DECODE_ACCEPTANCE_RATE: "spec_decode_acceptance_rate",
    SignalName.ENGINE_SAMPLE_COUNT: "running_requests",
}
_SCORES: Final = _Table(
    # Judged again by the same evaluator, a request has its newest result.
    "(SELECT any(e.labels) AS about, any(e.request_end) AS ended, "
    "argMax(tuple(e.score), e.at).1 AS newest FROM evals AS e GROUP BY e.event_id, e.evaluator)",
    "ended",
    "newest",
    "about['{0}']",
    missing="unscored",
)
_THUMBS: Final = _Table(
    # A user has one thumb for each request, the newest.
    "(SELECT argMax(tuple(f.thumb), f.at).1 AS newest, max(f.at) AS given, "
    "any(f.provider) AS provider, any(f.model) AS model, any(f.model_version) AS model_version, "
    "any(f.feature) AS feature FROM feedback AS f FINAL WHERE f.matched "
    "GROUP BY f.request_id, f.user_id, if(f.thumb IS NULL, toString(f.feedback_id), ''))",
    "given",
    "if(newest IS NULL, NULL, newest = 'up')",
    "`{0}`",
    frozenset({"provider", "model", "model_version", "feature"}),
    "without_thumb",
)
_TABLES: Final[dict[SignalName, _Table]] = {
    SignalName.QUALITY_SCORE: _SCORES,
    SignalName.SCORE_COUNT: _SCORES,
    SignalName.FEEDBACK_POSITIVE_RATE: _THUMBS,
    **{
        signal: _Table(
            "(SELECT * FROM engine_samples FINAL)",
            "at",
            column,
            "toString(`{0}`)",
            frozenset({"server", "engine_index", "model"}),
        )
        for signal, column in _ENGINE.items()
    },
}
_COUNTS: Final = frozenset({SignalName.SCORE_COUNT, SignalName.ENGINE_SAMPLE_COUNT})

TELLABLE: Final = frozenset(_TABLES)
"""The signals that facts in the store can answer."""


class Facts:
    """The scores, thumbs and engine samples of a time, (since, until] in microseconds.

    Every fact counts at its own time, as if it had been known at once: a judge that was late then
    is not late here.
    """

    def __init__(self, client: Client, since_us: int, until_us: int) -> None:
        self._client = client
        self._time = {"since": since_us, "until": until_us}

    def holds(self, query: SignalQuery) -> bool:
        """Tell whether there is any fact that the query could be answered from."""
        table = _TABLES.get(query.signal)
        if table is None or (table.labels is not None and not set(query.by) <= table.labels):
            return False
        return bool(rows(self._client, f"SELECT count() {self._tail(table)}", self._time)[0][0])

    def series(self, query: SignalQuery, ends: Ints) -> Iterator[Series]:
        """Yield what would have been said of each series at each of these ends."""
        table = _TABLES[query.signal]
        names = [table.label.format(name) for name in query.by]
        key = "cityHash64(tuple({}))".format(", ".join(names) or "1")
        tail = self._tail(table)
        labels = rows(
            self._client, f"SELECT DISTINCT {', '.join([key, *names])} {tail}", self._time
        )
        columns = {  # no name of theirs may be one of the table's: WHERE would take ours
            "series": (key, "UInt64"),
            "moment": (f"toUnixTimestamp64Micro({table.time})", "Int64"),
            "number": (table.number, "Float64"),
        }
        found = fetch(self._client, columns, tail, self._time)
        found = found[np.argsort(found["moment"], kind="stable")]
        for row in labels:
            part = found[found["series"] == np.uint64(row[0])]
            said = dict(zip(query.by, (str(value) for value in row[1:]), strict=True))
            yield self._one(query, table, said, part, ends)

    def _tail(self, table: _Table) -> str:
        return f"""
            FROM {table.source}
            WHERE {table.time} > fromUnixTimestamp64Micro({{since:Int64}}, 'UTC')
              AND {table.time} <= fromUnixTimestamp64Micro({{until:Int64}}, 'UTC')
        """

    @staticmethod
    def _one(
        query: SignalQuery, table: _Table, labels: dict[str, str], part: Any, ends: Ints
    ) -> Series:
        over_us = round(query.over_s * 1e6)
        at = part["moment"].astype(np.int64)
        numbers: Floats = part["number"].astype(np.float64)
        known = ~np.isnan(numbers)
        units = np.round(np.where(known, numbers, 0.0) * _UNIT).astype(np.int64)
        high = np.searchsorted(at, ends, side="right")
        low = np.searchsorted(at, ends - over_us, side="right")
        earlier = np.searchsorted(at, ends - 2 * over_us, side="right")

        def total(figures: Any) -> Ints:
            sums = np.concatenate(([0], np.cumsum(figures, dtype=np.int64)))
            result: Ints = sums[high] - sums[low]
            return result

        samples = total(known)
        if query.signal in _COUNTS:
            values = samples.astype(np.float64)
        else:
            with np.errstate(invalid="ignore", divide="ignore"):
                values = np.where(samples > 0, total(units) / _UNIT / samples, np.nan)
        heard = high > earlier  # a series that fell silent is told of for another lookback
        details = {table.missing: total(~known)[heard].astype(np.float64)} if table.missing else {}
        return Series(query, labels, ends[heard], values[heard], samples[heard], None, details)
