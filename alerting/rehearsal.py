"""Rules that run in memory: the same steps as in the worker, with nobody told and nothing done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from alerting.effects import Act, Decided, Effect, Judge, Notify, Proposed, Stands, Transitioned
from alerting.evaluator import Evaluator
from alerting.identity import fingerprint_of
from alerting.intent import NotificationIntent
from alerting.machine import on_action, on_decision, on_neighbour, step
from alerting.policy import Policy
from alerting.rules.model import Rule
from alerting.rules.ruleset import RuleSet
from alerting.state import AlertState, Awaiting
from schemas.action import ActionRequested, ActionResult, ActionStatus, ActionVerdict
from schemas.alert import AlertTransition
from schemas.base import SCHEMA_VERSION, Labels
from schemas.command import CommandVia, DecideCommand
from schemas.signal import Signal

__all__ = ["Answer", "Rehearsal", "Said", "Says", "Word", "answer_with"]

_REFUSALS: Final = frozenset({ActionStatus.REFUSED, ActionStatus.FAILED})

Answer = Callable[[ActionRequested], ActionResult | None]
"""What the executor says to a request; None while it says nothing."""


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody says of a proposal, and when."""

    approve: bool
    at_us: int
    by: str = "rehearsal"
    reason: str = "rehearsal"


Says = Callable[[Awaiting], Word | None]
"""What people say of a proposal; None if nobody says anything."""


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that was decided: a transition, and the request that came of it, if any."""

    transition: AlertTransition
    request: ActionRequested | None = None


def answer_with(status: ActionStatus, reason: str = "rehearsal") -> Answer:
    """Return an executor that always answers so, at once.

    Asked for a plan it says that the action can be done, unless it always refuses or fails.
    """

    def answer(request: ActionRequested) -> ActionResult:
        told = status
        if request.plans is not None and status not in _REFUSALS:
            told = ActionStatus.PLANNED
        return ActionResult(
            schema_version=SCHEMA_VERSION,
            action_id=request.action_id,
            kind=request.kind,
            fingerprint=request.fingerprint,
            incident_id=request.incident_id,
            status=told,
            actuator="rehearsal",
            reason=reason,
            executor="rehearsal",
            at_us=request.requested_at_us,
        )

    return answer


class Rehearsal:
    """Step rules on signals and keep what they decide.

    Args:
        rules: the rules to try, their durations as they are to be applied.
        policy: what may act; what it lets out counts against its cap and cooldown.
        answer: the executor; by default each action is a dry run, after which nothing changed.
        says: the people who approve; by default proposals expire.
        max_lag_s: rules hold while the watermark lags more than this.

    Attributes:
        said: every transition so far, in order, each with the request that it led to.
        pages: every notification so far.
        verdicts: every verdict on an action so far.
        decided: how many actions were let out so far.
        states: each alert that was ever anything but inactive, by fingerprint.
    """

    def __init__(
        self,
        rules: RuleSet,
        policy: Policy,
        answer: Answer | None = None,
        *,
        max_lag_s: float = 60.0,
        says: Says = lambda _: None,
    ) -> None:
        self.evaluator = Evaluator(rules, max_lag_s=max_lag_s)
        self.policy = policy
        self.said: list[Said] = []
        self.pages: list[NotificationIntent] = []
        self.verdicts: list[ActionVerdict] = []
        self.states: dict[str, AlertState] = {}
        self.decided = 0
        self._says = says
        self._answer = answer or answer_with(ActionStatus.DRY_RUN)

    def see(self, signal: Signal) -> None:
        """Take in the next signal; the watermark's lag ends an evaluation, as in the worker."""
        for rule, seen in self.evaluator.due(signal, self.live):
            self.step(rule, seen)

    def live(self) -> Iterator[AlertState]:
        """Yield the alerts that are not at rest."""
        return (state for state in list(self.states.values()) if not state.idle)

    def state_of(self, rule: Rule, labels: Labels) -> AlertState | None:
        """Return where an alert stands; None when it was never anything but inactive."""
        return self.states.get(fingerprint_of(rule.name, labels))

    def step(self, rule: Rule, signal: Signal) -> AlertState:
        """Step one rule on one signal; return what the alert has become."""
        blank = AlertState.inactive(rule.name, signal.labels)
        state = self.states.get(blank.fingerprint, blank)
        self.evaluator.heard.add(state.fingerprint)
        now_us = signal.window_end_us
        if state.awaiting is not None:
            self._decide(rule, state, state.awaiting, now_us)
            state = self.states[state.fingerprint]
        policy = self.policy.hold(self.evaluator.lagging)
        after, effects = step(rule, state, signal, now_us, policy)
        if after is not state or effects:
            self._keep(after, effects, now_us)
        return self.states.get(blank.fingerprint, after)

    def _decide(self, rule: Rule, state: AlertState, awaiting: Awaiting, now_us: int) -> None:
        """Let people decide who would have until a time."""
        word = self._says(awaiting)
        if word is None or word.at_us > now_us:
            return
        command = DecideCommand(
            schema_version=SCHEMA_VERSION,
            command_id=f"rehearsal/{awaiting.proposal}",
            subject=awaiting.request.action_id,
            incident_id=awaiting.request.incident_id,
            proposal=awaiting.proposal,
            approve=word.approve,
            by=word.by,
            via=CommandVia.API,
            reason=word.reason,
            at_us=word.at_us,
        )
        at_us = max(word.at_us, state.last_us or 0)
        policy = self.policy.hold(self.evaluator.lagging)
        self._keep(*on_decision(rule, state, command, policy, at_us), at_us)

    def _keep(self, state: AlertState, effects: Sequence[Effect], now_us: int) -> None:
        self.states[state.fingerprint] = state
        requests = [effect.request for effect in effects if isinstance(effect, Act)]
        acts = [request for request in requests if request.plans is None]
        for effect in effects:
            match effect:
                case Transitioned(transition):
                    asked = next((r for r in acts if r.step == transition.step), None)
                    self.said.append(Said(transition, asked))
                case Notify(intent):
                    self.pages.append(intent)
                case Judge(verdict):
                    self.verdicts.append(verdict)
                case Act(request):
                    self.policy = self.policy.record(request, now_us)
                case Proposed() | Decided() | Stands():
                    pass  # a transition said so, too
        self.decided += len(acts)
        for request in requests:
            result = self._answer(request)
            if result is not None:
                self.hear(request, result)

    def hear(self, request: ActionRequested, result: ActionResult) -> None:
        """Take in what became of an action: its own alert's ladder goes on, others are relieved."""
        state = self.states.get(result.fingerprint)
        rule = self.evaluator.rules.by_name.get(request.rule)
        if state is None or rule is None:
            return
        now_us = max(result.at_us, state.last_us or 0)
        after, effects = on_action(rule, state, result, now_us)
        if after is not state or effects:
            self._keep(after, effects, now_us)
        for other in self.live():
            rule = self.evaluator.rules.by_name.get(other.rule)
            if rule is None:
                continue
            now_us = max(result.at_us, other.last_us or 0)
            after, effects = on_neighbour(rule, other, request, result, now_us)
            if after is not other or effects:
                self._keep(after, effects, now_us)
