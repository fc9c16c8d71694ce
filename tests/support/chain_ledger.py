"""What a chain said and showed, checked record by record against what it was given."""

from __future__ import annotations

from collections import Counter
from typing import Final

from alerting.delivery_failure import DELIVERY_RULE
from alerting.intent import NotificationIntent, NotifyEvent
from alerting.policy import target_of
from alerting.rules import RuleSet
from alerting.rules.step import Step
from alerting.state import AlertState
from schemas.action import (
    ActionKind,
    ActionRequested,
    ActionResult,
    ActionStatus,
    ActionVerdict,
    action_message,
)
from schemas.alert import AlertPhase, AlertTransition
from schemas.signal import Signal, SignalName
from schemas.topics import Topics
from tests.support.chain import MAX_LAG_S, Chain
from tests.support.crashing import ShowingReceiver

__all__ = ["Ledger"]

US: Final = 1_000_000
_CLOSED: Final = (AlertPhase.INACTIVE, AlertPhase.PENDING, AlertPhase.RESOLVED)


class Ledger:
    """Holds the invariants over everything that is in the logs and at the receivers.

    Args:
        rules: those in force.
        cooldown_s: least time between two actions on one target.
        alone: each incident is a message of its own.
    """

    def __init__(self, chain: Chain, rules: RuleSet, cooldown_s: float, *, alone: bool) -> None:
        self._chain = chain
        self._rules = rules
        self._cooldown_s = cooldown_s
        self._alone = alone
        self._read = 0
        self._lag_s = 0.0
        self._ended_us = 0
        self._seen: dict[tuple[str, str, int], list[tuple[Signal, bool]]] = {}
        self.fired: dict[str, int] = {}
        self._told: dict[tuple[str, str], int] = {}
        self.asked: dict[str, ActionRequested] = {}
        self._applied: set[str] = set()
        self._failed: set[str] = set()
        self.intents: dict[str, dict[int, NotificationIntent]] = {}
        self._shown = dict.fromkeys((one.name for one in chain.receivers), 0)
        self.crashes = 0

    def check(self) -> None:
        """Look at what is new.

        Raises:
            AssertionError: an invariant is broken.
        """
        for record in self._chain.broker.records[self._read :]:
            if record.topic == Topics.SIGNALS.name:
                self._signal(Signal.model_validate_json(record.value))
            elif record.topic == Topics.ALERTS.name:
                self._transition(AlertTransition.model_validate_json(record.value))
            elif record.topic == Topics.NOTIFICATIONS.name:
                self._intent(NotificationIntent.model_validate_json(record.value))
            elif record.topic == Topics.ACTIONS.name:
                self._action(action_message.validate_json(record.value))
        self._read = len(self._chain.broker.records)
        for receiver in self._chain.receivers:
            self._receiver(receiver)

    def open_alerts(self) -> list[AlertState]:
        """Return the alerts of the worker's table that are open."""
        states = [
            AlertState.model_validate_json(text)
            for key, text in self._chain.alerts.items()
            if ":" not in key and key not in ("policy", "rules", "evaluated")
        ]
        return [state for state in states if state.open or state.waiting is not None]

    def _signal(self, signal: Signal) -> None:
        if signal.signal is SignalName.WATERMARK_LAG:
            self._lag_s = signal.value or 0.0
            self._ended_us = max(self._ended_us, signal.window_end_us)
            return
        if signal.window_end_us <= self._ended_us:
            return  # late or repeated: nothing may follow from it
        key = (signal.signal.value, str(sorted(signal.labels.items())), signal.window_end_us)
        self._seen.setdefault(key, []).append((signal, self._lag_s > MAX_LAG_S))

    def _step(self, rule: str, name: str | None) -> Step | None:
        return next((s for s in self._rules.by_name[rule].ladder if s.name == name), None)

    def _transition(self, said: AlertTransition) -> None:
        incident = said.incident_id
        if said.to_phase is AlertPhase.FIRING and said.from_phase in _CLOSED:
            assert self.fired.setdefault(incident, said.at_us) == said.at_us
            self._bad_for_long(said)
        if said.to_phase is AlertPhase.RESOLVED and said.from_phase is not AlertPhase.RESOLVED:
            assert incident in self.fired, "resolved before it fired"
        step = self._step(said.rule, said.step)
        if step is not None and said.reason.endswith("tell people"):
            assert said.at_us - self.fired[incident] >= step.after_s * US, "escalated too early"
            at_us = self._told.setdefault((incident, step.name), said.at_us)
            assert at_us == said.at_us, f"step {step.name} was taken twice"

    def _bad_for_long(self, said: AlertTransition) -> None:
        """Hold that the rule's ``for`` was over: every value known of that time was bad."""
        rule = self._rules.by_name[said.rule]
        labels = str(sorted(said.labels.items()))
        known = {
            at_us: signal
            for (name, series, at_us), seen in self._seen.items()
            if name == rule.signal.value and series == labels
            for signal, lagging in seen
            if not lagging and signal.value is not None and signal.samples >= rule.min_samples
        }
        newest = known[said.at_us]
        assert newest.value is not None
        assert rule.bad(newest.value), "fired on a good value"
        since_us = said.at_us - round(rule.for_s * US)
        for at_us, signal in known.items():
            if since_us <= at_us <= said.at_us and signal.value is not None:
                assert rule.bad(signal.value), "fired though it was good within `for`"
        assert min(known) <= since_us, "fired before `for` was over"

    def _action(self, message: ActionRequested | ActionResult | ActionVerdict) -> None:
        if isinstance(message, ActionResult):
            if message.status is ActionStatus.APPLIED:
                self._applied.add(message.action_id)
        elif isinstance(message, ActionVerdict):
            assert message.action_id in self._applied, "a verdict on nothing done"
            if not message.recovered:
                self._failed.add(message.action_id)
        else:
            self._request(message)

    def _request(self, request: ActionRequested) -> None:
        before = self.asked.get(request.action_id)
        if before is not None:  # deciding again after a crash asks for the same
            same = {"kind", "labels", "incident_id", "step", "rule", "undoes"}
            assert before.model_dump(include=same) == request.model_dump(include=same)
            return
        assert not [
            one.action_id
            for one in self.asked.values()
            if one.fingerprint == request.fingerprint and one.action_id not in self._chain.answers
        ], "an action while another waits for its answer"
        self.asked[request.action_id] = request
        if request.kind is ActionKind.UNDO:
            assert request.undoes in self._applied, "undoes what was not done"
            assert request.undoes in self._failed
            return
        step = self._step(request.rule, request.step)
        assert step is not None
        at_us = request.requested_at_us
        assert at_us - self.fired[request.incident_id] >= step.after_s * US, "acted too early"
        assert not [
            one.action_id
            for one in self.asked.values()
            if one is not request
            and target_of(one.kind, one.labels) == target_of(request.kind, request.labels)
            and abs(at_us - one.requested_at_us) < self._cooldown_s * US
            and one.kind is not ActionKind.UNDO
        ], "acted within the cooldown"
        rule = self._rules.by_name[request.rule]
        key = (rule.signal.value, str(sorted(request.labels.items())), at_us)
        least = max(rule.min_samples, step.min_samples or 0)
        assert any(
            not lagging
            and signal.samples >= least
            and signal.value is not None
            and step.wanted(signal.value, signal.detail)
            for signal, lagging in self._seen.get(key, ())
        ), "acted without enough known samples, on a lag or on a value that does not ask for it"
        assert request.evidence["samples"] >= least

    def _intent(self, intent: NotificationIntent) -> None:
        told = self.intents.setdefault(intent.incident_id, {})
        assert (intent.event is NotifyEvent.TRIGGER) is (intent.revision == 1)
        assert intent.incident_id in self.fired, "told of what did not fire"
        keys = {other.dedup_key for other in told.values()} or {intent.dedup_key}
        assert keys == {intent.dedup_key}, "one incident, two keys"
        told[intent.revision] = intent

    def _receiver(self, receiver: ShowingReceiver) -> None:
        assert receiver.violations == []
        first = self._shown[receiver.name]
        self._shown[receiver.name] = len(receiver.shown)
        for shown in receiver.shown[first:]:
            if shown.rule == DELIVERY_RULE or not self._alone:
                continue
            assert shown.incident_id in self.fired, "told of what did not fire"
            assert shown.dedup_key == f"tocsin-{shown.incident_id}"
            assert not (shown.loud and shown.acknowledged), "loud though somebody looks after it"
        if len(receiver.shown) > first:
            told = Counter((one.dedup_key, one.revision) for one in receiver.shown)
            extra = sum(count - 1 for count in told.values())
            # A crash leaves one attempt unknown: the one before is in the changelog by then.
            assert extra <= self.crashes, "told twice without a crash"
