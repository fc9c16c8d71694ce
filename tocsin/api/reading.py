"""What the API shows, read from the store: alerts, who looks after them, silences, approvals."""

from __future__ import annotations

from typing import Any, Final

from alerting.silence import Silence, alert_labels, silenced_by
from schemas.command import CommandVia, SilenceCommand
from tocsin.api.approvals import approvals_in
from tocsin.api.queries import Queries, ask, micros, moment, text_of

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
        rows = await ask(
            self._store,
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
        waiting: dict[str, list[dict[str, Any]]] = {}
        for one in await self.approvals(now_us):
            waiting.setdefault(one["incident_id"], []).append(
                {name: one[name] for name in ("action_id", "does", "expires_at")}
            )
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
            alert["firing_since"] = text_of(alert["firing_since"])
            alert["changed_at"] = text_of(alert["changed_at"])
            by, why = row[len(names) :]
            alert["acknowledged"] = {"by": by, "reason": why} if by else None
            labels = alert_labels(alert["rule"], alert["severity"], alert["labels"])
            silence = silenced_by(silences, labels, now_us)
            alert["silenced"] = silence.silence_id if silence else None
            alert["waits_for_approval"] = waiting.get(alert["incident_id"], [])
            alerts.append(alert)
        return alerts

    async def approvals(
        self, now_us: int, *, every: bool = False, action: str = ""
    ) -> list[dict[str, Any]]:
        """Return the actions that wait for approval; see ``approvals_in``.

        Raises:
            AwayError: the store does not answer.
        """
        return await approvals_in(self._store, now_us, every=every, action=action)

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
                "starts_at": text_of(moment(silence.starts_us)),
                "ends_at": text_of(moment(silence.ends_us)),
                "mutes_actions": silence.mutes_actions,
                "state": _state(silence, now_us),
            }
            for silence, _ in await self._silences()
            if every or silence.ends_us > now_us
        ]

    async def _silences(self) -> list[tuple[Silence, int]]:
        ended = dict(await ask(self._store, _EXPIRED))
        found = []
        for subject, matchers, by, reason, starts, ends, mutes_actions, asked in await ask(
            self._store, _SILENCES
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
                        starts_us=micros(starts),
                        ends_us=micros(ends),
                        mutes_actions=bool(mutes_actions),
                        at_us=micros(asked),
                    )
                )
            except ValueError:  # the dispatcher refused it as well
                continue
            if subject in ended and ended[subject] >= asked:
                silence = silence.ended(micros(ended[subject]))
            found.append((silence, micros(asked)))
        return found


def _state(silence: Silence, now_us: int) -> str:
    if silence.active(now_us):
        return "active"
    return "pending" if silence.starts_us > now_us else "expired"
