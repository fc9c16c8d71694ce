"""Which actions wait for approval, and what became of those that did, read from the store."""

from __future__ import annotations

from typing import Any, Final

from alerting.text import flat
from tocsin.api.queries import Queries, ask, micros, parsed, text_of

__all__ = ["approvals_in"]

_PROPOSED: Final = """
SELECT action_id, proposal, incident_id, rule, step, kind, labels, does, before, after, inverse,
       approvers, reason, at, expires
FROM actions FINAL
WHERE type = 'action_proposed' AND at > now() - INTERVAL 30 DAY
  AND ({action:String} = '' OR action_id = {action:String})
ORDER BY at DESC, action_id
LIMIT {limit:UInt32}
"""
_DECIDED: Final = """
SELECT action_id, proposal, status, by, reason, command_id, at
FROM actions FINAL
WHERE type = 'action_decided' AND at > now() - INTERVAL 31 DAY
  AND ({action:String} = '' OR action_id = {action:String})
ORDER BY at, kafka_offset
"""
_NAMES: Final = (
    "action_id",
    "proposal",
    "incident_id",
    "rule",
    "step",
    "kind",
    "labels",
    "does",
    "before",
    "after",
    "inverse",
    "approvers",
    "reason",
    "proposed_at",
    "expires_at",
)


async def approvals_in(
    store: Queries, now_us: int, *, every: bool = False, action: str = "", limit: int = 1_000
) -> list[dict[str, Any]]:
    """Return the proposals that wait, or every one of the last 30 days, the newest first.

    ``state`` is ``waiting``, ``approved``, ``rejected``, ``expired`` or ``void``; ``decided`` says
    by whom, and ``ignored`` has the decisions that did nothing, each with the reason.

    Raises:
        AwayError: the store does not answer.
    """
    parameters = {"action": action, "limit": limit}
    decided: dict[str, dict[str, Any]] = {}
    ignored: dict[str, list[dict[str, Any]]] = {}
    for action_id, proposal, status, by, reason, command_id, at in await ask(
        store, _DECIDED, {"action": action}
    ):
        said = {"by": by, "reason": reason, "at": text_of(at), "command_id": command_id}
        if status == "ignored":
            ignored.setdefault(action_id, []).append(said)
        else:
            decided.setdefault(proposal, {**said, "status": status})
    found = []
    for row in await ask(store, _PROPOSED, parameters):
        one = dict(zip(_NAMES, row, strict=True))
        expires = one["expires_at"]
        word = decided.get(one["proposal"])
        one["state"] = word["status"] if word is not None else "waiting"
        if word is None and micros(expires) <= now_us:
            one["state"] = "expired"  # and the alert will say so at its next signal
        one["decided"] = {k: v for k, v in word.items() if k != "status"} if word else None
        one["ignored"] = ignored.get(one["action_id"], [])
        for name in ("before", "after", "inverse"):
            one[name] = parsed(one[name])
        one["taken_back_by"] = flat(one["inverse"])
        one["approvers"] = list(one["approvers"])
        one["proposed_at"] = text_of(one["proposed_at"])
        one["expires_at"] = text_of(expires)
        if every or one["state"] == "waiting":
            found.append(one)
    return found
