"""Signals and action results to decisions: alerts, notifications and actions.

The decisions themselves are pure (``alerting``); here is their state, kept in a Faust table, and
the order that makes a crash harmless: publish first, then store the state, then acknowledge. A
replay decides the same again under the same ids, which every receiver takes once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from pydantic import ValidationError

from alerting.approval import ignored
from alerting.errors import RulesError
from alerting.evaluator import Evaluator, Withdrawn
from alerting.identity import fingerprint_in, incident_in
from alerting.machine import on_acknowledge, on_decision, step, withdraw
from alerting.policy import Policy
from alerting.rules import RuleSet, parse_rules
from alerting.rules.model import Rule
from alerting.state import AlertState
from schemas.action import ActionResult, KillSwitch, action_message
from schemas.command import DecideCommand
from schemas.signal import Signal
from schemas.topics import Topics
from streams import metrics
from streams.alert_states import RULES, AlertStates
from streams.chunk import records
from streams.consequences import Consequences
from streams.decided import DecidedTable
from streams.effects import message_of
from streams.evaluated import Evaluated
from streams.letters import Publishes
from streams.permission import Permission
from streams.refused import refused
from streams.silences import Silences

__all__ = ["AlertAgent"]

log = structlog.get_logger(__name__)


class AlertAgent:
    """Steps every rule's alerts as signals come, and hears what became of its actions.

    Args:
        rules: the rules in force, their durations as they are to be applied.
        policy: what may act, before anything was done.
        table: fingerprint to AlertState as JSON text; further keys hold the policy's memory, how
            the kill switch stands, and the requests that wait for their results.
        max_lag_s: rules hold while the watermark lags more than this.
        text: what the rules in force were read from; with it a worker that starts knows the rules
            of the one before, and ends the alerts of those that are gone.
        silences: those that mute actions bar them.
    """

    def __init__(
        self,
        rules: RuleSet,
        policy: Policy,
        table: MutableMapping[str, str],
        publisher: Publishes,
        *,
        max_lag_s: float,
        text: Callable[[], str] | None = None,
        silences: Silences | None = None,
    ) -> None:
        self._evaluator = Evaluator(rules, max_lag_s=max_lag_s)
        self._max_lag_us = round(max_lag_s * 1e6)
        self._table = DecidedTable(table, publisher)
        self._permission = Permission(policy, self._table, silences)
        self._states = AlertStates(self._table)
        self._evaluated = Evaluated(self._table)
        self._consequences = Consequences(
            self._table, self._states, self._permission, lambda: self._evaluator.rules
        )
        self._text = text
        self._remembers = text is not None
        # Signals and results come by two streams; a step reads, publishes and writes one state.
        self._lock = asyncio.Lock()

    async def run(self, stream: Any) -> None:
        """Process ``llm.signals`` for ever, those that came together; the Faust agent's body."""
        async for event in stream.noack().events():
            together = list(records(event))
            try:
                await self.on_signals([Signal.model_validate_json(value) for _, value in together])
            except Exception:  # noqa: BLE001 - found and told below, one by one
                for offset, value in together:
                    await self._decide_alone(offset, value)
            metrics.RECORDS.labels(topic=Topics.SIGNALS.name).inc(len(together))
            event.ack()

    async def _decide_alone(self, offset: int, value: bytes) -> None:
        try:
            await self.on_signal(Signal.model_validate_json(value))
        except ValidationError as error:
            refused(Topics.SIGNALS, offset, str(error))
        except Exception as error:
            log.exception("decision_fails", topic=Topics.SIGNALS.name)
            refused(Topics.SIGNALS, offset, type(error).__name__)

    async def run_results(self, stream: Any) -> None:
        """Process what the executor says on ``llm.actions`` for ever."""
        async for event in stream.noack().events():
            try:
                message = action_message.validate_json(event.value or b"")
                if isinstance(message, ActionResult):
                    await self.on_result(message)
                elif isinstance(message, KillSwitch):
                    await self.on_kill_switch(message)
            except ValidationError as error:
                refused(Topics.ACTIONS, event.message.offset, str(error))
            except Exception as error:
                log.exception("decision_fails", topic=Topics.ACTIONS.name)
                refused(Topics.ACTIONS, event.message.offset, type(error).__name__)
            event.ack()

    def adopt(self, rules: RuleSet) -> None:
        """Put other rules in force as soon as the evaluation under way has ended."""
        self._evaluator.adopt(rules)

    async def on_signal(self, signal: Signal) -> None:
        """Decide what one signal means for every rule that asked for it."""
        await self.on_signals([signal])

    async def on_signals(self, signals: Sequence[Signal]) -> None:
        """Decide what signals mean, in their order, and say it together."""
        async with self._deciding():
            for signal in signals:
                self._on_signal(signal)

    def _on_signal(self, signal: Signal) -> None:
        if self._evaluated.past(signal):
            metrics.SIGNALS_REPEATED.inc()
            return
        now_us = signal.window_end_us
        self._evaluator.lagging = self._evaluated.lagging()
        if self._remembers:
            self._end_alerts_of_old_rules(now_us)
        for rule, seen in self._evaluator.due(signal, self._states.live):
            self._try_step(rule, seen, now_us)
        if self._evaluator.ends(signal):
            self._take_over(now_us)
        self._evaluated.note(signal, self._evaluator)

    @asynccontextmanager
    async def _deciding(self) -> AsyncIterator[None]:
        """Let one caller decide at a time; what was decided is out, and kept, at the end."""
        async with self._lock:
            try:
                yield
                await self._table.settle()
            finally:
                self._table.forget()

    def _take_over(self, now_us: int) -> None:
        self._withdraw(self._evaluator.take_over(self._states.live) or (), now_us)
        if self._text is not None:
            self._remember(self._text())

    def _end_alerts_of_old_rules(self, now_us: int) -> None:
        """Compare the rules with those in force when the table was last written, once."""
        self._remembers = False
        text = self._text() if self._text is not None else ""
        remembered = self._table.get(RULES)
        if remembered and remembered != text:
            try:
                old = parse_rules(remembered, "the rules before")
            except RulesError as error:  # written by a version that had other keys
                log.warning("old_rules_unreadable", error=str(error)[:500])
            else:
                self._withdraw(self._evaluator.withdrawn(old, self._states.live()), now_us)
        self._remember(text)

    def _withdraw(self, withdrawn: Iterable[Withdrawn], now_us: int) -> None:
        for gone in withdrawn:
            reason = "the rule is no longer in force"
            self._consequences.carry_out(*withdraw(gone.rule, gone.state, now_us, reason), now_us)

    def _remember(self, text: str) -> None:
        if self._table.get(RULES) != text:
            self._table[RULES] = text

    async def on_result(self, result: ActionResult) -> None:
        """Let the ladder go on with what became of its action."""
        async with self._deciding():
            self._consequences.hear(result)

    async def acknowledge(self, incident_id: str, by: str, at_us: int, reason: str = "") -> bool:
        """Let an open incident know who looks after it; return whether there is such a one."""
        async with self._deciding():
            state = self._states.get(fingerprint_in(incident_id))
            if state is None or state.incident_id != incident_id:
                return False
            rule = self._evaluator.rules.by_name.get(state.rule)
            if rule is None:
                return False
            after, effects = on_acknowledge(rule, state, incident_id, by, at_us, reason)
            if effects:
                self._consequences.carry_out(after, effects, at_us)
            return state.open

    async def decide(self, command: DecideCommand) -> None:
        """Let an alert know what somebody decided on an action that it proposed."""
        async with self._deciding():
            # Both are named after their alert.
            state = self._states.get(fingerprint_in(incident_in(command.subject)))
            rule = self._evaluator.rules.by_name.get(state.rule) if state else None
            if state is None or rule is None:
                topic, message = message_of(ignored(command, "no such action was proposed"))
                self._table.say(topic, command.subject, message)
                return
            now_us = max(command.at_us, state.last_us or 0)
            lagging = self._evaluator.lagging
            # The lag is said evaluation by evaluation; that there was none for long is late, too.
            lagging = lagging or command.at_us - (state.last_us or 0) > self._max_lag_us
            policy = self._permission.of(rule, state, now_us, lagging=lagging)
            after, effects = on_decision(rule, state, command, policy, now_us)
            if after is not state or effects:
                self._consequences.carry_out(after, effects, now_us)

    async def on_kill_switch(self, message: KillSwitch) -> None:
        """Let policy know how the executor's kill switch stands."""
        async with self._deciding():
            self._permission.hear(message)
        log.info("kill_switch", status=message.status, reason=message.reason)

    def _try_step(self, rule: Rule, signal: Signal, now_us: int) -> None:
        """Step one rule; its fault is counted and keeps no other rule from stepping."""
        try:
            self._step(rule, signal, now_us)
        except Exception:
            metrics.RULE_FAILURES.labels(rule=rule.name).inc()
            log.exception("rule_fails", rule=rule.name)

    def _step(self, rule: Rule, signal: Signal, now_us: int) -> None:
        blank = AlertState.inactive(rule.name, signal.labels)
        state = self._states.get(blank.fingerprint) or blank
        self._evaluator.heard.add(state.fingerprint)
        policy = self._permission.of(rule, state, now_us, lagging=self._evaluator.lagging)
        after, effects = step(rule, state, signal, now_us, policy)
        if after is not state or effects:
            self._consequences.carry_out(after, effects, now_us)
