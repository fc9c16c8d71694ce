"""What must be true when the demo ends: each promise, asked of the store and the receiver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from tocsin.demo.moments import MOMENTS

__all__ = ["Check", "check_all", "rows_in_store"]

_P95_ERROR: Final = """
    SELECT count() AS windows, max(abs(w.e2e_p95_s / r.exact - 1)) AS worst
    FROM (SELECT * FROM windows FINAL) AS w
    INNER JOIN
    (
        SELECT intDiv(toUnixTimestamp64Micro(end_time), {size:Int64}) AS number,
               provider, model, model_version, route, ifNull(feature, '') AS feature,
               quantileExact(0.95)(e2e_s) AS exact
        FROM requests
        GROUP BY number, provider, model, model_version, route, feature
    ) AS r
    ON r.number = intDiv(toUnixTimestamp64Micro(w.window_start), {size:Int64})
    AND r.provider = w.provider AND r.model = w.model AND r.model_version = w.model_version
    AND r.route = w.route AND r.feature = w.feature
"""

_COUNTS: Final = """
    SELECT (SELECT sum(requests) FROM windows FINAL) AS in_windows,
           (SELECT sum(errors) FROM windows FINAL) AS errors_in_windows,
           (SELECT countIf(failed) FROM requests) AS errors_in_rows
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and what was found."""

    name: str
    ok: bool
    said: str


def rows_in_store(client: Client) -> tuple[int, int]:
    """Return how many rows there are, and how many different events."""
    rows, events = client.query("SELECT count(), uniqExact(event_id) FROM requests").result_rows[0]
    return rows, events


def check_all(
    client: Client,
    *,
    sent: int,
    window_us: int,
    moments: Mapping[str, int],
    messages: Sequence[Mapping[str, Any]],
    incidents: Sequence[Mapping[str, Any]],
) -> list[Check]:
    """Return every check; the demo succeeded when all are ok."""
    rows, events = rows_in_store(client)
    in_windows, errors_in_windows, errors_in_rows = client.query(_COUNTS).result_rows[0]
    windows, worst = client.query(_P95_ERROR, parameters={"size": window_us}).result_rows[0]
    return [
        Check(
            "one row for each request sent, no event twice",
            rows == events == sent,
            f"{sent} sent, {rows} rows, {events} event ids",
        ),
        Check(
            "each request in one window",
            in_windows == rows and errors_in_windows == errors_in_rows,
            f"{in_windows} requests and {errors_in_windows} errors in windows",
        ),
        Check(
            "P95 of every window within 1 % of the exact one",
            windows > 0 and worst <= 0.01,
            f"{windows} windows, worst {100 * (worst or 0):.2f} % off",
        ),
        _every_moment(moments),
        _one_message_each(messages, incidents),
        _parts(client),
    ]


def _every_moment(moments: Mapping[str, int]) -> Check:
    missing = [moment.title for moment in MOMENTS if moment.name not in moments]
    said = f"missing: {', '.join(missing)}" if missing else f"{len(MOMENTS)} steps"
    return Check("every step of the loop happened", not missing, said)


def _one_message_each(
    messages: Sequence[Mapping[str, Any]], incidents: Sequence[Mapping[str, Any]]
) -> Check:
    parents = [message for message in messages if not message["thread_ts"]]
    keys = [incident["dedup_key"] for incident in incidents]
    open_incidents = [i for i in incidents if i["status"] != "resolved"]
    ok = (
        len(parents) == len(incidents) == len(set(keys))
        and bool(parents)
        and not open_incidents
        and all(message["edit_count"] for message in parents)
    )
    said = (
        f"{len(parents)} Slack messages (edited {sum(m['edit_count'] for m in parents)} times), "
        f"{len(set(keys))} PagerDuty incidents, {len(open_incidents)} still open"
    )
    return Check("one message an incident, updated; one PagerDuty key, resolved", ok, said)


_PARTS: Final = {
    "cost known": "SELECT count() FROM requests WHERE cost_usd > 0",
    "cost rates": "SELECT count() FROM signals WHERE signal = 'cost_rate' AND value > 0",
    "drift": "SELECT count() FROM signals WHERE signal LIKE '%_psi' AND value IS NOT NULL",
    "judged": "SELECT countIf(outcome = 'scored') FROM evals FINAL",
    "feedback joined": "SELECT countIf(matched) FROM feedback FINAL",
    "rollups": "SELECT count() FROM performance_by_minute",
}


def _parts(client: Client) -> Check:
    counts = {name: client.query(sql).result_rows[0][0] for name, sql in _PARTS.items()}
    said = ", ".join(f"{name} {count}" for name, count in counts.items())
    return Check("cost, drift, judged quality and feedback have rows", all(counts.values()), said)
