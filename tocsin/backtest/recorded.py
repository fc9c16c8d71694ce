"""What the live detectors said, as table ``signals`` keeps it, and what the executor answered."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

import numpy as np
import orjson
from clickhouse_connect.driver.client import Client

from alerting.rehearsal import Word
from schemas.action import ActionKind, ActionResult, ActionStatus
from schemas.base import SCHEMA_VERSION
from schemas.signal import SignalName, SignalQuery
from tocsin.backtest.columns import fetch, rows
from tocsin.backtest.series import Floats, Ints, Series

__all__ = ["Loaded", "Recorded"]

_OF_QUERY: Final = """
    FROM signals
    WHERE signal = {signal:String}
      AND over_s BETWEEN {over:Float64} * 0.999999 AND {over:Float64} * 1.000001
      AND length(labels) = length({by:Array(String)})
      AND hasAll(mapKeys(labels), {by:Array(String)})
      AND window_end > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
      AND window_end <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')
"""
_LABELS: Final = "cityHash64(mapKeys(labels), mapValues(labels))"
_MICROS: Final = "toUnixTimestamp64Micro(window_end)"


Loaded = tuple[dict[int, dict[str, str]], Any]
"""Labels by their hash, and the rows, in no order that can be relied on."""


class Recorded:
    """The signals of a time, (since, until] in microseconds."""

    def __init__(self, client: Client, since_us: int, until_us: int) -> None:
        self._client = client
        self._time = {"since": since_us, "until": until_us}

    def evaluations(self) -> tuple[Ints, Floats]:
        """Return the ends of all evaluations, and the watermark's lag at each, in seconds."""
        found = fetch(
            self._client,
            {"end": (_MICROS, "Int64"), "lag": ("value", "Float64"), "n": ("samples", "Int64")},
            _OF_QUERY,
            self._parameters(SignalQuery(SignalName.WATERMARK_LAG, 0, ())),
        )
        ends, first = np.unique(found["end"], return_index=True)
        return ends.astype(np.int64), found["lag"][first].astype(np.float64)

    def holds(self, query: SignalQuery) -> bool:
        """Tell whether some rule in force asked this question."""
        if query.short_s:  # the same lookback may have been asked with another budget
            sql = f"SELECT any(detail['short_s']), any(detail['objective']) {_OF_QUERY}"
            ((short_s, objective),) = rows(self._client, sql, self._parameters(query))
            return bool(np.isclose([short_s, objective], [query.short_s, query.objective]).all())
        return bool(rows(self._client, f"SELECT 1 {_OF_QUERY} LIMIT 1", self._parameters(query)))

    def series(self, query: SignalQuery, details: Collection[str]) -> Iterator[Series]:
        """Yield what was said of each series, with the details that some step asks for."""
        yield from self.split(query, details, self.load(query, details))

    def load(self, query: SignalQuery, details: Collection[str]) -> Loaded:
        """Return what was said as it lies in the store; may run in a thread of its own."""
        parameters = self._parameters(query)
        names = rows(
            self._client,
            f"SELECT DISTINCT {_LABELS}, labels {_OF_QUERY}",
            parameters,
        )
        columns = {
            "series": (_LABELS, "UInt64"),
            "end": (_MICROS, "Int64"),
            "value": ("value", "Float64"),
            "samples": ("samples", "Int64"),
            "baseline": ("baseline", "Float64"),
            **{
                f"detail.{name}": (
                    f"if(mapContains(detail, '{name}'), detail['{name}'], nan)",
                    "Float64",
                )
                for name in details
                if name.isidentifier()
            },
        }
        return dict(names), fetch(self._client, columns, _OF_QUERY, parameters)

    @staticmethod
    def split(query: SignalQuery, details: Collection[str], loaded: Loaded) -> Iterator[Series]:
        """Yield each series of what was loaded."""
        labels, found = loaded
        hashes = np.array(sorted(labels), np.uint64)
        place = np.searchsorted(hashes, found["series"])
        found = _ordered(found, place)
        place = np.searchsorted(hashes, found["series"])
        starts = np.flatnonzero(np.append(True, place[1:] != place[:-1]))
        for low, high in zip(starts, np.append(starts[1:], found.size), strict=True):
            part = found[low:high]
            if not part.size:
                continue
            yield Series(
                query,
                dict(labels[int(part["series"][0])]),
                part["end"].astype(np.int64),
                part["value"].astype(np.float64),
                part["samples"].astype(np.int64),
                part["baseline"].astype(np.float64),
                {name: part[f"detail.{name}"].astype(np.float64) for name in details},
            )

    def results(self) -> dict[str, ActionResult]:
        """Return what the executor answered, by action; the first answer counts."""
        found = rows(
            self._client,
            """
            SELECT action_id, kind, fingerprint, incident_id, status, actuator, reason, inverse,
                   executor, toUnixTimestamp64Micro(at) AS at_us
            FROM actions FINAL
            WHERE type = 'action_result'
              AND at > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
            ORDER BY at DESC
            """,
            {"since": self._time["since"]},
        )
        return {row[0]: _result(*row) for row in found}

    def words(self) -> dict[str, Word]:
        """Return what people decided on actions that waited for approval, by action."""
        found = rows(
            self._client,
            """
            SELECT action_id, status = 'approved', toUnixTimestamp64Micro(at) AS at_us, by, reason
            FROM actions FINAL
            WHERE type = 'action_decided' AND status IN ('approved', 'rejected')
              AND at > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
            ORDER BY at DESC
            """,
            {"since": self._time["since"]},
        )
        return {
            action_id: Word(bool(approved), at_us, by, reason)
            for action_id, approved, at_us, by, reason in found
        }

    def _parameters(self, query: SignalQuery) -> dict[str, Any]:
        return {
            **self._time,
            "signal": query.signal.value,
            "over": query.over_s,
            "by": sorted(query.by),
        }


def _ordered(found: Any, place: Any) -> Any:
    """Return rows by series and end, of several for one moment that with the most samples."""
    if not found.size:
        return found
    ends = found["end"]
    low = int(ends.min())
    key = place.astype(np.int64) * (int(ends.max()) - low + 1) + (ends - low)
    order = np.argsort(key, kind="stable")  # the table's order is nearly this one
    key = key[order]
    if not (key[1:] == key[:-1]).any():
        return found[order]
    order = np.lexsort((-found["samples"], ends, place))
    found, place = found[order], place[order]
    same = (place[1:] == place[:-1]) & (found["end"][1:] == found["end"][:-1])
    return found[np.append(True, ~same)]


def _result(
    action_id: str,
    kind: str,
    fingerprint: str,
    incident_id: str,
    status: str,
    actuator: str,
    reason: str,
    inverse: str,
    executor: str,
    at_us: int,
) -> ActionResult:
    return ActionResult(
        schema_version=SCHEMA_VERSION,
        action_id=action_id,
        kind=ActionKind(kind),
        fingerprint=fingerprint,
        incident_id=incident_id,
        status=ActionStatus(status),
        actuator=actuator,
        reason=reason,
        inverse=orjson.loads(inverse or "{}"),
        executor=executor,
        at_us=at_us,
    )
