"""One decision in the making: the state as it becomes, and the effects gathered on the way."""

from __future__ import annotations

from typing import Any, Final

from alerting.effects import Act, Decided, Effect, Judge, Notify, Proposed, Stands, Transitioned
from alerting.identity import incident_in
from alerting.incident import compose
from alerting.intent import LadderNote, NotificationIntent, NotifyEvent
from alerting.policy import Policy
from alerting.rules.model import Rule
from alerting.state import AlertState, Outcome, StepRecord
from schemas.action import (
    ActionDecided,
    ActionDecision,
    ActionProposed,
    ActionRequested,
    ActionVerdict,
)
from schemas.alert import AlertPhase, AlertTransition
from schemas.base import SCHEMA_VERSION
from schemas.command import DecideCommand

__all__ = ["Turn"]

_HISTORY: Final = 40
_AGAIN_US: Final = 300_000_000
"""How often an open incident without news is said again, in event time: Prometheus's idea, which
repairs whatever a crash made others believe."""


class Turn:
    """The working copy of one pure step; it lives no longer than the call that makes it."""

    def __init__(self, rule: Rule, state: AlertState, now_us: int, policy: Policy) -> None:
        self.rule = rule
        self.state = state
        self.now_us = now_us
        self.policy = policy
        self._effects: list[Effect] = []
        self._news: list[str] = []
        self._event: NotifyEvent | None = None
        self._loud = False

    def set(self, **changes: Any) -> None:
        """Change fields of the state."""
        self.state = self.state.model_copy(update=changes)

    def move(self, phase: AlertPhase, reason: str, step: str | None = None) -> None:
        """Change the phase, or say why it stays, on ``llm.alerts``."""
        state = self.state
        self._effects.append(
            Transitioned(
                AlertTransition(
                    schema_version=SCHEMA_VERSION,
                    fingerprint=state.fingerprint,
                    incident_id=state.incident_id or state.fingerprint,
                    rule=state.rule,
                    labels=state.labels,
                    severity=state.severity or self.rule.severity,
                    from_phase=state.phase,
                    to_phase=phase,
                    step=step,
                    value=state.value,
                    samples=state.samples,
                    reason=reason,
                    at_us=self.now_us,
                )
            )
        )
        self.set(phase=phase)

    def tell(
        self, news: str, *, event: NotifyEvent = NotifyEvent.UPDATE, loud: bool = False
    ) -> None:
        """Add to what this turn's one notification says, and to the incident's history."""
        self._news.append(news)
        self._loud = self._loud or loud
        if self._event is None or event is not NotifyEvent.UPDATE:
            self._event = event
        history = (*self.state.history, LadderNote(at_us=self.now_us, text=news))
        if len(history) > _HISTORY:  # how it began, and the newest
            history = (*history[:5], *history[-(_HISTORY - 5) :])
        self.set(history=history)

    def act(self, request: ActionRequested) -> None:
        """Let an action out; the policy's memory knows of it at once."""
        self.policy = self.policy.record(request, self.now_us)
        self._effects.append(Act(request))

    def propose(self, proposal: ActionProposed) -> None:
        """Publish an action that waits for approval."""
        self._effects.append(Proposed(proposal))

    def decide(
        self,
        action_id: str,
        status: ActionDecision,
        reason: str,
        *,
        proposal: str = "",
        command: DecideCommand | None = None,
    ) -> None:
        """Publish what became of a proposal; without a command nobody's doing."""
        self._effects.append(
            Decided(
                ActionDecided(
                    schema_version=SCHEMA_VERSION,
                    action_id=action_id,
                    proposal=proposal,
                    fingerprint=self.state.fingerprint,
                    incident_id=incident_in(action_id),
                    status=status,
                    by=command.by if command is not None else "",
                    command_id=command.command_id if command is not None else "",
                    reason=reason,
                    at_us=command.at_us if command is not None else self.now_us,
                )
            )
        )

    def judge(self, action_id: str, recovered: bool, reason: str) -> None:
        """Say whether an action helped."""
        state = self.state
        self._effects.append(
            Judge(
                ActionVerdict(
                    schema_version=SCHEMA_VERSION,
                    action_id=action_id,
                    fingerprint=state.fingerprint,
                    incident_id=state.incident_id or state.fingerprint,
                    recovered=recovered,
                    value=state.value if state.unknown_us is None else None,
                    reason=reason,
                    at_us=self.now_us,
                )
            )
        )

    def take(self, record: StepRecord) -> None:
        """Write down that a step was taken."""
        self.set(taken=(*self.state.taken, record))

    def settle(self, step: str, outcome: Outcome, reason: str, **changes: Any) -> None:
        """Write down what became of a step."""
        self.set(
            taken=tuple(
                record.model_copy(update={"outcome": outcome, "reason": reason, **changes})
                if record.step == step
                else record
                for record in self.state.taken
            )
        )

    def finish(self) -> tuple[AlertState, tuple[Effect, ...]]:
        """Return the new state and the effects, the notification last.

        An open incident that had no news for long is said again.
        """
        if self._event is not None and self.state.incident_id is not None:
            self.set(revision=self.state.revision + 1, told_us=self.now_us)
            resolved = self.state.phase is AlertPhase.RESOLVED
            event = NotifyEvent.RESOLVE if resolved else self._event
            self._effects.append(Notify(self._intent(event)))
        elif self.state.open and self.now_us - (self.state.told_us or 0) >= _AGAIN_US:
            self.set(told_us=self.now_us)
            first = self.state.revision == 1
            event = NotifyEvent.TRIGGER if first else NotifyEvent.UPDATE
            self._effects.append(Stands(self._intent(event)))
        return self.state, tuple(self._effects)

    def _intent(self, event: NotifyEvent) -> NotificationIntent:
        return compose(
            self.rule,
            self.state,
            event=event,
            news=tuple(self._news),
            loud=self._loud,
            at_us=self.now_us,
        )
