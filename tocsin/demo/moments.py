"""When each step of the loop happened, as the store and the receiver tell it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from tocsin.demo.scenario import BAD_VERSION, PRIMARY

__all__ = ["MOMENTS", "Moment", "happened"]

Receipts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Moment:
    """One step: its name on the page, its title, and the query that finds when it was.

    Queries give UTC microseconds, 0 for not yet. ``of`` names the part of the loop.
    """

    name: str
    title: str
    sql: str
    of: str


def _alert(phase: str) -> str:
    return f"FROM alerts WHERE rule = 'error-rate' AND to_phase = '{phase}'"


def _micros(expression: str) -> str:
    return f"SELECT toUnixTimestamp64Micro({expression})"


_BAD: Final = f"labels['model_version'] = '{BAD_VERSION}'"
_FIRST: Final = "minOrDefault(at)"

_OUTAGE: Final = f"labels['provider'] = '{PRIMARY}' AND NOT ({_BAD})"

_RESULT: Final = "FROM actions WHERE type = 'action_result' AND status = 'applied' AND kind ="

_VERDICT: Final = (
    "FROM actions WHERE type = 'action_verdict' AND recovered"
    " AND action_id IN (SELECT action_id FROM actions WHERE kind = '{kind}')"
)

MOMENTS: Final[tuple[Moment, ...]] = (
    Moment(
        "promoted",
        f"version {BAD_VERSION} promoted",
        f"{_micros(_FIRST)} FROM flags"
        f" WHERE key = 'ai.model.version' AND variant = '{BAD_VERSION}'",
        "flag",
    ),
    Moment(
        "regression_began",
        "regression began",
        f"{_micros('minOrDefault(end_time)')} FROM requests"
        f" WHERE failed AND model_version = '{BAD_VERSION}'",
        "serving",
    ),
    Moment(
        "first_signal",
        "first signal above 1 %",
        f"{_micros('minOrDefault(window_end)')} FROM signals"
        f" WHERE signal = 'error_rate' AND value > 0.01 AND {_BAD}",
        "detectors",
    ),
    Moment(
        "alert_fired", "alert fired", f"{_micros(_FIRST)} {_alert('firing')} AND {_BAD}", "alerting"
    ),
    Moment("paged", "page received", "", "notifiers"),
    Moment(
        "rollback_requested",
        "rollback requested",
        f"{_micros(_FIRST)} FROM actions WHERE type = 'action_requested' AND kind = 'rollback'"
        f" AND {_BAD}",
        "escalation",
    ),
    Moment(
        "rollback_applied",
        "rollback applied",
        f"{_micros(_FIRST)} {_RESULT} 'rollback'",
        "executor",
    ),
    Moment(
        "recovered",
        "recovered",
        f"{_micros(_FIRST)} {_VERDICT.format(kind='rollback')}",
        "verification",
    ),
    Moment(
        "resolved",
        "incident resolved",
        f"{_micros(_FIRST)} {_alert('resolved')} AND {_BAD}",
        "alerting",
    ),
    Moment("outage_began", f"provider {PRIMARY} goes down", "", "serving"),
    Moment(
        "outage_alert",
        "outage alert fired",
        f"{_micros(_FIRST)} {_alert('firing')} AND {_OUTAGE} AND at > fromUnixTimestamp64Micro("
        "{outage:Int64})",
        "alerting",
    ),
    Moment(
        "rollback_refused",
        "rollback refused, the ladder goes on",
        f"{_micros(_FIRST)} FROM alerts WHERE rule = 'error-rate' AND step = 'rollback'"
        f" AND {_OUTAGE} AND reason LIKE '%refused%'"
        " AND at > fromUnixTimestamp64Micro({outage:Int64})",
        "policy",
    ),
    Moment(
        "fallback_applied",
        "fallback applied",
        f"{_micros(_FIRST)} {_RESULT} 'fallback'",
        "executor",
    ),
    Moment(
        "fallback_recovered",
        "recovered on the second provider",
        f"{_micros(_FIRST)} {_VERDICT.format(kind='fallback')}",
        "verification",
    ),
    Moment(
        "outage_resolved",
        "outage resolved",
        f"{_micros(_FIRST)} {_alert('resolved')} AND {_OUTAGE}"
        " AND at > fromUnixTimestamp64Micro({outage:Int64})",
        "alerting",
    ),
)


def happened(
    client: Client,
    known: Receipts,
    report: Callable[[Moment, int], Any],
    moments: Sequence[Moment] = MOMENTS,
) -> Receipts:
    """Return what has happened so far; ``report`` hears of each new moment once."""
    outage = known.get("outage_began", 4_000_000_000_000_000)
    for moment in moments:
        if moment.name in known or not moment.sql:
            continue
        at_us = client.query(moment.sql, parameters={"outage": outage}).result_rows[0][0]
        if at_us:
            known[moment.name] = at_us
            report(moment, at_us)
    return known
