"""Ask the store how canary and stable requests have done since the last look."""

from __future__ import annotations

import math
from typing import Any, Final

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from serving.errors import LooksError
from serving.rollout.machine import Metric
from serving.rollout.sequential import Look

__all__ = ["StoreLooks"]

_MODEL: Final = "({model:String} = '' OR model = {model:String})"
_TIMES: Final = (
    "end_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC') "
    "AND end_time < fromUnixTimestamp64Micro({until:Int64}, 'UTC')"
)

# Limits come from the stable version's past alone: they are fixed before what they are applied to.
_LIMITS: Final = f"""
SELECT countIf(well), quantileIf(0.95)(e2e_s, well),
       countIf(well AND cost_usd IS NOT NULL),
       quantileIf(0.9)(toFloat64(cost_usd), well AND cost_usd IS NOT NULL)
FROM (SELECT e2e_s, cost_usd, NOT failed AND NOT rejected AND NOT aborted AS well
      FROM requests WHERE {_TIMES} AND {_MODEL} AND route != 'canary')
"""  # noqa: S608  # joined from constants; values are parameters

_COUNTS: Final = f"""
SELECT route = 'canary' AS canary,
       countIf(NOT rejected AND NOT aborted),
       countIf(NOT rejected AND NOT aborted AND (
           failed OR if(canary, model_version != {{version:String}}, route = 'fallback'))),
       countIf(well), countIf(well AND e2e_s > {{slow:Float64}}),
       countIf(well AND cost_usd IS NOT NULL),
       countIf(well AND cost_usd IS NOT NULL AND toFloat64(cost_usd) > {{dear:Float64}})
FROM (SELECT *, NOT failed AND NOT rejected AND NOT aborted AS well
      FROM requests WHERE {_TIMES} AND {_MODEL})
GROUP BY canary
"""  # noqa: S608

_POOR: Final = f"""
SELECT count(), quantile(0.1)(score)
FROM evals INNER JOIN requests USING (event_id)
WHERE {_TIMES} AND {_MODEL} AND route != 'canary' AND score IS NOT NULL
"""  # noqa: S608

_SCORES: Final = f"""
SELECT route = 'canary' AS canary, count(), countIf(score < {{poor:Float64}})
FROM evals INNER JOIN requests USING (event_id)
WHERE {_TIMES} AND {_MODEL} AND score IS NOT NULL
GROUP BY canary
"""  # noqa: S608

_ENOUGH: Final = 200
"""Requests of the past without which a limit is not known well enough to be one."""


class StoreLooks:
    """Reads looks from the tables `requests` and `evals`.

    Requests are compared by the group that they were drawn for, not by the version that answered
    in the end: one that another version had to answer counts as bad.

    Args:
        client: of the store's database.
        model: as clients name it; empty for all.
        past_s: how far back limits are learnt from.
    """

    def __init__(self, client: Client, *, model: str = "", past_s: float = 3_600) -> None:
        self._client = client
        self._model = model
        self._past_us = round(past_s * 1e6)

    def look(self, version: str, since_us: int, until_us: int) -> dict[Metric, Look]:
        """Return the looks at requests that ended from `since_us` until before `until_us`.

        A metric without a known limit is left out.

        Raises:
            LooksError: the store cannot answer.
        """
        try:
            return self._look(version, since_us, until_us)
        except (ClickHouseError, OSError) as error:
            said = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise LooksError(f"the store does not answer: {said[:200]}") from error

    def _look(self, version: str, since_us: int, until_us: int) -> dict[Metric, Look]:
        past = self._row(_LIMITS, since=since_us - self._past_us, until=since_us)
        well, slow, priced, dear = past
        counts = self._groups(
            _COUNTS,
            since=since_us,
            until=until_us,
            version=version,
            slow=_limit(slow),
            dear=_limit(dear),
        )
        looks = {Metric.ERRORS: _look(counts, 0)}
        if well >= _ENOUGH:
            looks[Metric.LATENCY] = _look(counts, 2)
        if priced >= _ENOUGH:
            looks[Metric.COST] = _look(counts, 4)
        scored, poor = self._row(_POOR, since=since_us - self._past_us, until=since_us)
        if scored >= _ENOUGH:
            scores = self._groups(_SCORES, since=since_us, until=until_us, poor=_limit(poor))
            looks[Metric.QUALITY] = _look(scores, 0)
        return looks

    def _row(self, sql: str, **parameters: Any) -> tuple[Any, ...]:
        found = self._client.query(sql, parameters={"model": self._model, **parameters})
        return tuple(found.result_rows[0])

    def _groups(self, sql: str, **parameters: Any) -> dict[bool, tuple[int, ...]]:
        found = self._client.query(sql, parameters={"model": self._model, **parameters})
        return {bool(row[0]): tuple(int(n) for n in row[1:]) for row in found.result_rows}


def _limit(value: Any) -> float:
    """Return a limit; a quantile of nothing is not a number, and then nothing is limited."""
    number = math.inf if value is None else float(value)
    return math.inf if math.isnan(number) else number


def _look(groups: dict[bool, tuple[int, ...]], place: int) -> Look:
    nothing = (0,) * 8
    stable, canary = groups.get(False, nothing), groups.get(True, nothing)
    return Look(
        stable=stable[place],
        stable_bad=stable[place + 1],
        canary=canary[place],
        canary_bad=canary[place + 1],
    )
