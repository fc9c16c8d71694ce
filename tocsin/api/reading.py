"""What the API shows, read from the store: alerts with who looks after them, and silences."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final, Protocol

from alerting.silence import Silence, alert_labels, silenced_by
from schemas.command import CommandVia, SilenceCommand
from streams.errors import StoreRefusedError, StoreUnavailableError
from tocsin.api.errors import AwayError

__all__ = ["Queries", "Reading"]

_OPEN: Final = ("firing", "acknowledged", "escalated", "verifying")
_ALERTS: Final = """
SELECT found.incident_id, found.rule_, found.labels_, found.severity_, found.phase, found.value_,
       found.samples_, found.reason_, found.since, found.changed, acks.by_, acks.why
FROM
(
    SELECT incident_id, any(rule) AS rule_, any(labels) AS labels_,
           argMax(severity, (at, kafka_offset)) AS severity_,
           argMax(to_phase, (at, kafka_offset)) AS phase,
           argMax(value, (at, kafka_offset)) AS value_,
           argMax(samples, (at, kafka_offset)) AS samples_,
           argMax(reason, (at, kafka_offset)) AS reason_,
           minOrNullIf(at, to_phase = 'firing') AS since, max(at) AS changed
    FROM alerts FINAL
    WHERE at > now() - INTERVAL {days:UInt32} DAY AND incident_id != fingerprint
      AND ({incident:String} = '' OR incident_id = {incident:String})
    GROUP BY incident_id
) AS found
LEFT JOIN
(
    SELECT subject, argMin(by, at) AS by_, argMin(reason, at) AS why
    FROM commands FINAL WHERE type = 'ack' GROUP BY subject
) AS acks ON acks.subject = found.incident_id
WHERE {all:Bool} OR found.phase IN {open:Array(String)}
ORDER BY found.changed DESC, found.incident_id
LIMIT {limit:UInt32}
"""
_SILENCES: Final = """
SELECT subject, argMax(matchers, place), argMax(by, place), argMax(reason, place),
       argMax(starts, place), argMax(ends, place), argMax(mutes_actions, place), max(at)
FROM (SELECT *, (at, kafka_offset) AS place FROM commands FINAL)
WHERE type = 'silence' AND ends > now() - INTERVAL 30 DAY
GROUP BY subject
ORDER BY max(at) DESC
LIMIT 1000
"""
_EXPIRED: Final = """
SELECT subject, max(at) FROM commands FINAL
WHERE type = 'expire' AND at > now() - INTERVAL 366 DAY GROUP BY subject
"""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Queries(Protocol):
    """What answers queries: the store."""

    async def query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query; see ``Store.query``."""


class Reading:
    """Answers of the API, as JSON values."""

    def __init__(self, store: Queries) -> None:
        self._store = store

    async def alerts(
        self, now_us: int, *, every: bool = False, incident: str = "", limit: int = 1_000
    ) -> list[dict[str, Any]]:
        """Return the open alerts, or every one of the last 30 days, the latest changed first.

        Raises:
            AwayError: the store does not answer.
        """
        rows = await self._query(
            _ALERTS,
            {
                "days": 30,
                "incident": incident,
                "all": every,
                "open": list(_OPEN),
                "limit": limit,
            },
        )
        silences = [silence for silence, _ in await self._silences()]
        names = (
            "incident_id",
            "rule",
            "labels",
            "severity",
            "phase",
            "value",
            "samples",
            "reason",
            "firing_since",
            "changed_at",
        )
        alerts = []
        for row in rows:
            alert = dict(zip(names, row, strict=False))
            alert["firing_since"] = _text(alert["firing_since"])
            alert["changed_at"] = _text(alert["changed_at"])
            by, why = row[len(names) :]
            alert["acknowledged"] = {"by": by, "reason": why} if by else None
            labels = alert_labels(alert["rule"], alert["severity"], alert["labels"])
            silence = silenced_by(silences, labels, now_us)
            alert["silenced"] = silence.silence_id if silence else None
            alerts.append(alert)
        return alerts

    async def silences(self, now_us: int, *, every: bool = False) -> list[dict[str, Any]]:
        """Return the silences in force or to come, or every one of the last 30 days.

        Raises:
            AwayError: the store does not answer.
        """
        return [
            {
                "silence_id": silence.silence_id,
                "matchers": [str(matcher) for matcher in silence.matchers],
                "by": silence.by,
                "reason": silence.reason,
                "starts_at": _text(_at(silence.starts_us)),
                "ends_at": _text(_at(silence.ends_us)),
                "mutes_actions": silence.mutes_actions,
                "state": _state(silence, now_us),
            }
            for silence, _ in await self._silences()
            if every or silence.ends_us > now_us
        ]

    async def _silences(self) -> list[tuple[Silence, int]]:
        ended = dict(await self._query(_EXPIRED))
        found = []
        for subject, matchers, by, reason, starts, ends, mutes_actions, asked in await self._query(
            _SILENCES
        ):
            try:
                silence = Silence.asked(
                    SilenceCommand(
                        schema_version=1,
                        command_id=subject,
                        subject=subject,
                        matchers=tuple(matchers),
                        by=by,
                        via=CommandVia.API,
                        reason=reason,
                        starts_us=_micros(starts),
                        ends_us=_micros(ends),
                        mutes_actions=bool(mutes_actions),
                        at_us=_micros(asked),
                    )
                )
            except ValueError:  # the dispatcher refused it as well
                continue
            if subject in ended and ended[subject] >= asked:
                silence = silence.ended(_micros(ended[subject]))
            found.append((silence, _micros(asked)))
        return found

    async def _query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> Sequence[tuple[Any, ...]]:
        try:
            return await self._store.query(sql, parameters)
        except (StoreUnavailableError, StoreRefusedError) as error:
            raise AwayError(f"the store does not answer: {str(error)[:300]}") from None


def _state(silence: Silence, now_us: int) -> str:
    if silence.active(now_us):
        return "active"
    return "pending" if silence.starts_us > now_us else "expired"


def _at(at_us: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=at_us)


def _micros(at: dt.datetime) -> int:
    aware = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
    return (aware - _EPOCH) // dt.timedelta(microseconds=1)


def _text(at: dt.datetime | None) -> str | None:
    if at is None:
        return None
    aware = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
    return aware.isoformat(timespec="milliseconds").replace("+00:00", "Z")
