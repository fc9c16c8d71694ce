"""What follows from a decision: its messages, its requests, their answers, and what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import structlog

from alerting.effects import Act, Effect
from alerting.machine import on_action, on_neighbour
from alerting.rules import RuleSet
from alerting.rules.model import Rule
from alerting.state import AlertState
from schemas.action import ActionRequested, ActionResult
from streams.alert_states import REQUEST, AlertStates
from streams.decided import DecidedTable
from streams.early_answers import EarlyAnswers
from streams.effects import message_of
from streams.permission import Permission

__all__ = ["Consequences"]

log = structlog.get_logger(__name__)


class Consequences:
    """Says what alerts decide and keeps them, an alert's own row after all that rests on it.

    A request with its row and policy's memory of it, and the neighbours that its answer relieves,
    are kept before the alert that asked: killed in between, the successor decides on that alert
    again, and whatever was kept by then takes the same once more without a change.

    Args:
        table: where the rows are, and who says the messages.
        states: the alerts among the rows.
        permission: it remembers what was asked for.
        rules: returns the rules in force.
    """

    def __init__(
        self,
        table: DecidedTable,
        states: AlertStates,
        permission: Permission,
        rules: Callable[[], RuleSet],
    ) -> None:
        self._table = table
        self._states = states
        self._permission = permission
        self._rules = rules
        self._early = EarlyAnswers(table)

    def carry_out(self, state: AlertState, effects: Sequence[Effect], now_us: int) -> None:
        """Say what an alert decided, and keep it, with the answers that came before."""
        self._say(state, effects)
        requests = [effect.request for effect in effects if isinstance(effect, Act)]
        for request in requests:
            self._table[REQUEST + request.action_id] = request.to_json().decode()
            self._permission.record(request, now_us)
        for request in requests:
            answer, rule = self._early.of(request.action_id), self._rule_of(state)
            if answer is not None and rule is not None:
                state = self._answered(rule, state, answer)
        self._states.put(state)
        self._early.forget(state)

    def hear(self, result: ActionResult) -> None:
        """Let an alert and its neighbours know what became of an action."""
        state = self._states.get(result.fingerprint)
        if self._early.keep(result, state):
            log.info("answer_is_early", action_id=result.action_id)
        rule = self._rule_of(state)
        if state is None or rule is None:
            log.warning("result_without_alert", action_id=result.action_id)
            return
        self._states.put(self._answered(rule, state, result))

    def _answered(self, rule: Rule, state: AlertState, result: ActionResult) -> AlertState:
        """Return what an alert, not kept yet, becomes on an answer; keep its neighbours."""
        after, effects = on_action(rule, state, result, max(result.at_us, state.last_us or 0))
        self._say(after, effects)
        self._tell_neighbours(result)
        return after

    def _tell_neighbours(self, result: ActionResult) -> None:
        """Let other alerts know of an action that moved their series' traffic away."""
        key = REQUEST + result.action_id
        text = self._table.get(key)
        if not text:
            return
        request = ActionRequested.model_validate_json(text)
        for state in list(self._states.live()):
            rule = self._rule_of(state)
            if rule is None:
                continue
            now_us = max(result.at_us, state.last_us or 0)
            after, effects = on_neighbour(rule, state, request, result, now_us)
            if after is not state or effects:
                self._say(after, effects)
                self._states.put(after)
        del self._table[key]

    def _rule_of(self, state: AlertState | None) -> Rule | None:
        return self._rules().by_name.get(state.rule) if state is not None else None

    def _say(self, state: AlertState, effects: Iterable[Effect]) -> None:
        for effect in effects:
            topic, message = message_of(effect)
            self._table.say(topic, state.fingerprint, message)
