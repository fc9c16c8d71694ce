"""Answers to requests that a worker has to decide on again, for its table lost them in a crash."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

from alerting.identity import plan_id_of, undo_id_of
from alerting.state import AlertState, Outcome, StepRecord
from schemas.action import ActionResult

__all__ = ["EARLY", "EarlyAnswers"]

EARLY: Final = "early:"

_KEPT_US: Final = 86_400_000_000


class EarlyAnswers:
    """Results that came before their requests: rows of the table of alerts.

    A request is out before the state that waits for its answer is kept. Killed in between, a worker
    leaves the answer to a successor that reads signals and answers side by side, and may hear the
    answer first; the executor answers once. A row goes after its alert is kept.
    """

    def __init__(self, table: MutableMapping[str, str]) -> None:
        self._table = table

    def keep(self, result: ActionResult, state: AlertState | None) -> bool:
        """Keep a result that its alert does not know of yet; tell whether that is so."""
        if state is not None and _knows(state, result):
            return False
        for key, text in list(self._table.items()):
            if key.startswith(EARLY):
                kept = ActionResult.model_validate_json(text)
                if kept.at_us < result.at_us - _KEPT_US:
                    del self._table[key]
        self._table[EARLY + result.action_id] = result.to_json().decode()
        return True

    def of(self, action_id: str) -> ActionResult | None:
        """Return what was kept for a request."""
        text = self._table.get(EARLY + action_id)
        return ActionResult.model_validate_json(text) if text else None

    def forget(self, state: AlertState) -> None:
        """Drop what an alert has heard, also what a kill had left after the alert was kept."""
        for record in state.taken:
            if (step := record.action_id) is None:
                continue
            for action_id in (step, plan_id_of(step), undo_id_of(step)):
                if _had(record, action_id):
                    self._table.pop(EARLY + action_id, None)


def _knows(state: AlertState, result: ActionResult) -> bool:
    """Tell whether an alert waits for a result, had it already, or has gone on without it."""
    if state.waiting is not None and state.waiting.action_id == result.action_id:
        return True
    if state.incident_id == result.incident_id:
        return any(_had(record, result.action_id) for record in state.taken)
    fired = result.incident_id.rsplit("-", 1)[-1]  # incidents are named after when they fired
    return not fired.isdigit() or int(fired) <= (state.last_us or 0)


def _had(record: StepRecord, action_id: str) -> bool:
    """Tell whether a step, as it stands, can only be there with that answer."""
    step = record.action_id
    if step is None:
        return False
    if action_id == plan_id_of(step):
        return record.outcome is not Outcome.PLANNING
    if action_id == undo_id_of(step):
        return record.outcome in (Outcome.UNDONE, Outcome.UNDO_FAILED)
    return action_id == step and record.outcome not in (Outcome.PLANNING, Outcome.AWAITING)
