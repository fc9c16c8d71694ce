"""An alert driven by hand: seconds in, effects out, the state through JSON at every step."""

from __future__ import annotations

from typing import Any

import yaml

from alerting.effects import Act, Decided, Effect, Judge, Notify, Proposed, Stands, Transitioned
from alerting.intent import NotificationIntent
from alerting.machine import on_action, on_decision, on_neighbour, step
from alerting.policy import Policy
from alerting.rules import Rule, parse_rules
from alerting.state import AlertState
from schemas.action import (
    ActionDecided,
    ActionKind,
    ActionProposed,
    ActionRequested,
    ActionResult,
    ActionStatus,
    ActionVerdict,
)
from schemas.alert import AlertTransition
from schemas.command import CommandVia, DecideCommand
from schemas.signal import Signal

__all__ = ["EPOCH_US", "LABELS", "Drive", "rule_of"]

EPOCH_US = 1_700_000_000_000_000
LABELS = {"provider": "vllm", "model": "llama", "model_version": "v2"}

BASE: dict[str, Any] = {
    "name": "error-rate",
    "signal": "error_rate",
    "over": "60s",
    "by": ["provider", "model", "model_version"],
    "condition": "> 1%",
    "min_samples": 100,
    "severity": "error",
    "summary": "{model} {model_version}: {value:.1%} fail",
    "runbook": "docs/alerting.md",
}
LADDER: list[dict[str, Any]] = [
    {"name": "check", "after": "0s", "notify": "Check the provider."},
    {"name": "rollback", "after": "1m", "when": "> 5%", "act": "rollback", "verify_within": "5m"},
    {"name": "fallback", "after": "3m", "when": "> 5%", "act": "fallback", "verify_within": "5m"},
]


def rule_of(**changes: Any) -> Rule:
    """Return one rule, the base with changes; ``ladder`` is the usual one unless given."""
    data = {**BASE, "ladder": LADDER, **changes}
    return parse_rules(yaml.safe_dump({"version": 1, "rules": [data]}), "test").rules[0]


class Drive:
    """One alert of one rule; times are seconds since ``EPOCH_US``."""

    def __init__(self, rule: Rule, policy: Policy | None = None) -> None:
        self.rule = rule
        self.labels = {name: LABELS.get(name, "x") for name in rule.by}
        self.state = AlertState.inactive(rule.name, self.labels)
        self.policy = policy if policy is not None else Policy()
        self.now = 0
        self.effects: list[Effect] = []
        """All but what only says again how things stand."""
        self.said_again: list[Stands] = []

    def signal(
        self, at: int, value: float | None, samples: int | None = None, **detail: float
    ) -> Signal:
        if samples is None:
            samples = 0 if value is None else 1_000
        return Signal(
            schema_version=1,
            signal=self.rule.signal,
            labels=self.labels,
            over_s=self.rule.over_s,
            window_end_us=EPOCH_US + at * 1_000_000,
            value=value,
            samples=samples,
            detector="test",
            detail=detail,
        )

    def see(
        self, at: int, value: float | None, samples: int | None = None, **detail: float
    ) -> tuple[Effect, ...]:
        """Give the alert a signal at a second."""
        signal = self.signal(at, value, samples, **detail)
        self.now = at
        state, effects = step(self.rule, self.state, signal, signal.window_end_us, self.policy)
        return self._keep(state, effects)

    def feed(self, signal: Signal) -> tuple[Effect, ...]:
        """Give the alert a signal that a detector said; the first one names the series."""
        if self.state.last_us is None and self.state.labels != signal.labels:
            self.labels = signal.labels
            self.state = AlertState.inactive(self.rule.name, signal.labels)
        self.now = (signal.window_end_us - EPOCH_US) // 1_000_000
        state, effects = step(self.rule, self.state, signal, signal.window_end_us, self.policy)
        return self._keep(state, effects)

    def run(
        self,
        start: int,
        stop: int,
        value: float | None,
        samples: int | None = None,
        every: int = 10,
        **detail: float,
    ) -> list[Effect]:
        """Give the alert the same signal from a second to before another."""
        gathered: list[Effect] = []
        for at in range(start, stop, every):
            gathered += self.see(at, value, samples, **detail)
        return gathered

    def answer(
        self,
        status: ActionStatus = ActionStatus.APPLIED,
        at: int | None = None,
        action_id: str | None = None,
    ) -> tuple[Effect, ...]:
        """Answer the request that waits, or the one named."""
        at_us = EPOCH_US + (self.now if at is None else at) * 1_000_000
        waiting = self.state.waiting
        asked = action_id or (waiting.action_id if waiting is not None else "none")
        result = ActionResult(
            schema_version=1,
            action_id=asked,
            kind=ActionKind.UNDO if asked.endswith(":undo") else ActionKind.ROLLBACK,
            fingerprint=self.state.fingerprint,
            incident_id=self.state.incident_id or "none",
            status=status,
            actuator="flags",
            reason=f"test {status}",
            before={"variant": "v2"},
            after={"variant": "v1"},
            inverse={"flag": "ai.model.version", "variant": "v2"},
            executor="test",
            at_us=at_us,
        )
        now_us = max(at_us, self.state.last_us or 0)
        return self._keep(*on_action(self.rule, self.state, result, now_us))

    def decision(self, at: int, *, approve: bool = True, **changes: Any) -> DecideCommand:
        """Return somebody's word on the action that was proposed last."""
        proposed = self.proposed[-1]
        fields: dict[str, Any] = {
            "schema_version": 1,
            "command_id": f"c-{at}",
            "by": "ann",
            "via": CommandVia.API,
            "reason": "looks right",
            "at_us": EPOCH_US + at * 1_000_000,
            "subject": proposed.action_id,
            "incident_id": proposed.incident_id,
            "proposal": proposed.proposal,
            "approve": approve,
        }
        return DecideCommand(**{**fields, **changes})

    def decide(self, at: int, *, approve: bool = True, **changes: Any) -> tuple[Effect, ...]:
        """Let somebody decide on the action that was proposed last."""
        command = self.decision(at, approve=approve, **changes)
        now_us = max(command.at_us, self.state.last_us or 0)
        self.now = max(self.now, at)
        return self._keep(*on_decision(self.rule, self.state, command, self.policy, now_us))

    def neighbour(self, request: ActionRequested, status: ActionStatus) -> tuple[Effect, ...]:
        """Tell the alert of another incident's action."""
        at_us = EPOCH_US + self.now * 1_000_000
        result = ActionResult(
            schema_version=1,
            action_id=request.action_id,
            kind=request.kind,
            fingerprint=request.fingerprint,
            incident_id=request.incident_id,
            status=status,
            actuator="flags",
            reason="test",
            executor="test",
            at_us=at_us,
        )
        return self._keep(*on_neighbour(self.rule, self.state, request, result, at_us))

    def _keep(self, state: AlertState, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        for effect in effects:
            if isinstance(effect, Act):
                self.policy = self.policy.record(effect.request, EPOCH_US + self.now * 1_000_000)
        self.said_again += [effect for effect in effects if isinstance(effect, Stands)]
        effects = tuple(effect for effect in effects if not isinstance(effect, Stands))
        self.effects += effects
        restored = AlertState.model_validate_json(state.to_json())
        assert restored == state
        self.state = restored
        return effects

    @property
    def phase(self) -> str:
        return self.state.phase.value

    @property
    def acts(self) -> list[ActionRequested]:
        return [effect.request for effect in self.effects if isinstance(effect, Act)]

    @property
    def intents(self) -> list[NotificationIntent]:
        return [effect.intent for effect in self.effects if isinstance(effect, Notify)]

    @property
    def verdicts(self) -> list[ActionVerdict]:
        return [effect.verdict for effect in self.effects if isinstance(effect, Judge)]

    @property
    def proposed(self) -> list[ActionProposed]:
        return [effect.proposal for effect in self.effects if isinstance(effect, Proposed)]

    @property
    def decisions(self) -> list[ActionDecided]:
        return [effect.decision for effect in self.effects if isinstance(effect, Decided)]

    @property
    def transitions(self) -> list[AlertTransition]:
        return [effect.transition for effect in self.effects if isinstance(effect, Transitioned)]
