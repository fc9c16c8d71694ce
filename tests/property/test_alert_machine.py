"""The alert machine under any order of signals, lag, answers, restarts and repeats."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from alerting.effects import Act, Decided, Effect, Judge, Notify, Proposed, Transitioned
from alerting.intent import NotificationIntent, NotifyEvent
from alerting.machine import on_acknowledge, on_action, on_decision, step
from alerting.policy import Policy
from alerting.rules import Rule
from alerting.state import OPEN, AlertState
from schemas.action import (
    ActionDecision,
    ActionKind,
    ActionMode,
    ActionProposed,
    ActionRequested,
    ActionResult,
    ActionStatus,
)
from schemas.alert import AlertPhase, AlertTransition
from schemas.command import CommandVia, DecideCommand
from schemas.signal import Signal
from tests.unit.alerting.drive import EPOCH_US, LABELS, rule_of

US = 1_000_000
MIN_SAMPLES = 100
ROLLBACK_SAMPLES = 200
LADDER = [
    {"name": "check", "after": "0s", "notify": "Check."},
    {"name": "rollback", "after": "1m", "when": "> 5%", "act": "rollback",
     "verify_within": "2m", "min_samples": ROLLBACK_SAMPLES},
    {"name": "call", "after": "90s", "notify": "Call.", "severity": "critical",
     "unless_acknowledged": True},
    {"name": "fallback", "after": "3m", "when": "> 5%", "act": "fallback", "verify_within": "2m"},
]  # fmt: skip
AFTER = {"rollback": 60, "fallback": 180, "check": 0, "call": 90}

Call = Callable[[AlertState, Policy], tuple[AlertState, tuple[Effect, ...], int]]


class AlertMachine(RuleBasedStateMachine):
    """Seconds of event time pass between signals; whatever is seen and decided is written down."""

    @initialize(
        for_s=st.sampled_from([0, 30]),
        keep_s=st.sampled_from([0, 60]),
        cooldown_s=st.sampled_from([0, 600]),
        dry_run=st.sampled_from([False, False, False, True]),
        episodes=st.sampled_from([0, 2, 3]),
        approval=st.sampled_from(["automatic", "required", "required"]),
        if_expired=st.sampled_from(["page", "next"]),
    )
    def start(
        self,
        for_s: int,
        keep_s: int,
        cooldown_s: int,
        dry_run: bool,
        episodes: int,
        approval: str,
        if_expired: str,
    ) -> None:
        asks: dict[str, Any] = {"approval": approval}
        if approval == "required":
            asks |= {"approve_within": "2m", "if_expired": if_expired}
        ladder = [{**one, **asks} if one["name"] == "rollback" else one for one in LADDER]
        self.rule: Rule = rule_of(
            **{"for": f"{for_s}s"},
            keep_firing_for=f"{keep_s}s",
            damp={"episodes": episodes, "within": "30m"},
            ladder=ladder,
        )
        self.state = AlertState.inactive(self.rule.name, LABELS)
        self.initial = self.state
        self.initial_policy = Policy(cooldown_s=cooldown_s, actions_per_hour=4, dry_run=dry_run)
        self.policy = self.initial_policy
        self.now_s = 0
        self.calls: list[Call] = []
        self.effects: list[Effect] = []
        self.asked: dict[str, ActionRequested] = {}
        self.applied: dict[str, int] = {}
        self.judged: dict[str, bool] = {}
        self.taken: set[tuple[str, str]] = set()
        self.incidents: dict[str, list[NotificationIntent]] = {}
        self.fired: dict[str, int] = {}
        self.bad_since: int | None = None
        self.good_since: int | None = None
        self.acknowledged: set[str] = set()
        self.unanswered: str | None = None
        self.proposed: dict[str, ActionProposed] = {}
        self.settled: dict[str, ActionDecision] = {}
        self.counts: str | None = None

    # what happens

    @rule(
        value=st.sampled_from([0.0, 0.005, 0.01, 0.02, 0.05, 0.06, 0.5, 1.0]),
        samples=st.sampled_from([1, 99, 100, 199, 200, 5_000]),
        wait_s=st.sampled_from([1, 10, 10, 10, 30, 60, 200]),
        lagging=st.sampled_from([False, False, False, False, True]),
    )
    def observe(self, value: float, samples: int, wait_s: int, lagging: bool) -> None:
        self.now_s += wait_s
        self._signal(value, samples, lagging)

    @rule(value=st.sampled_from([0.5, 0.5, 0.5, 0.0]), count=st.integers(5, 30))
    def observe_for_a_while(self, value: float, count: int) -> None:
        for _ in range(count):
            self.now_s += 10
            self._signal(value, 1_000, lagging=False)

    @rule(count=st.integers(1, 20), samples=st.sampled_from([0, 0, 3]))
    def hear_nothing(self, count: int, samples: int) -> None:
        for _ in range(count):
            self.now_s += 10
            self._signal(None, samples, lagging=False)

    @rule(back_s=st.sampled_from([0, 1, 1_000]), value=st.sampled_from([0.0, 1.0]))
    def see_an_old_or_repeated_signal(self, back_s: int, value: float) -> None:
        if self.state.last_us is None:
            return
        at_us = self.state.last_us - back_s * US
        before = len(self.effects)
        signal = self._make(value, 1_000, at_us)
        state, effects = step(self.rule, self.state, signal, at_us, self.policy)
        assert state is self.state
        assert effects == ()
        assert len(self.effects) == before

    @rule(
        status=st.sampled_from([ActionStatus.APPLIED] * 5 + list(ActionStatus)),
        pick=st.integers(0, 100),
        waits=st.sampled_from([True, True, True, False]),
    )
    def answer(self, status: ActionStatus, pick: int, waits: bool) -> None:
        if not self.asked:
            return
        waiting = self.state.waiting
        asked = list(self.asked)
        action_id = waiting.action_id if waits and waiting else asked[pick % len(asked)]
        request = self.asked[action_id]
        if request.dry_run and status is ActionStatus.APPLIED:
            status = ActionStatus.DRY_RUN  # an executor that obeys
        if request.plans is not None and status is ActionStatus.APPLIED:
            status = ActionStatus.PLANNED
        at_us = EPOCH_US + self.now_s * US
        result = ActionResult(
            schema_version=1,
            action_id=action_id,
            kind=request.kind,
            fingerprint=request.fingerprint,
            incident_id=request.incident_id,
            status=status,
            actuator="test",
            reason="test",
            executor="test",
            at_us=at_us,
        )
        awaited = waiting is not None and waiting.action_id == action_id
        before = len(self.effects)
        if awaited:
            self.unanswered = None
        if awaited and status is ActionStatus.APPLIED:
            self.applied[action_id] = at_us
        self._do(lambda state, policy: (*on_action(self.rule, state, result, at_us), at_us), None)
        if not awaited:
            assert len(self.effects) == before, "an answer that nobody waits for changes nothing"

    @rule(pick=st.integers(0, 100), now=st.sampled_from([True, True, False]))
    def acknowledge(self, pick: int, now: bool) -> None:
        if not self.incidents:
            return
        known = list(self.incidents)
        current = self.state.incident_id
        incident_id = current if now and current else known[pick % len(known)]
        at_us = EPOCH_US + self.now_s * US
        counts = self.state.open and incident_id == current and current not in self.acknowledged
        before = len(self.effects)
        self._do(
            lambda state, _: (
                *on_acknowledge(self.rule, state, incident_id, "ann", at_us, "on it"),
                at_us,
            ),
            None,
        )
        assert (len(self.effects) > before) is counts
        if counts:
            event("acknowledged")
            self.acknowledged.add(incident_id)

    @rule(
        approve=st.sampled_from([True, True, False]),
        pick=st.integers(0, 100),
        now=st.sampled_from([True, True, True, False]),
        stale=st.sampled_from([False, False, False, True]),
    )
    def decide(self, approve: bool, pick: int, now: bool, stale: bool) -> None:
        if not self.proposed:
            return
        awaiting = self.state.awaiting
        known = list(self.proposed)
        name = awaiting.request.action_id if now and awaiting else known[pick % len(known)]
        proposed = self.proposed[name]
        at_us = EPOCH_US + self.now_s * US
        command = DecideCommand(
            schema_version=1,
            command_id=f"c-{len(self.calls)}",
            by="ann",
            via=CommandVia.API,
            reason="seen",
            at_us=at_us,
            subject=name,
            incident_id=proposed.incident_id,
            proposal="another" if stale else proposed.proposal,
            approve=approve,
        )
        counts = (
            awaiting is not None
            and awaiting.request.action_id == name
            and not stale
            and at_us < proposed.expires_us
        )
        self.counts = command.command_id if counts and approve else None
        held, asked = self.policy, len(self.asked)

        def call(state: AlertState, policy: Policy) -> tuple[AlertState, tuple[Effect, ...], int]:
            policy = policy.model_copy(update={"lagging": held.lagging, "frozen": held.frozen})
            return (*on_decision(self.rule, state, command, policy, at_us), at_us)

        self._do(call, None)
        self.counts = None
        if not counts:
            assert len(self.asked) == asked, "a decision that does not count let an action out"
            assert self.state.awaiting == awaiting, "a decision that does not count settled one"
        again = on_decision(self.rule, self.state, command, self.policy, at_us)
        if counts and self.state.awaiting is None:
            assert again == (self.state, ()), "the same command again did something"

    @rule(approve=st.booleans(), status=st.sampled_from(ActionStatus), pause_s=st.integers(0, 180))
    def go_through_an_approval(self, approve: bool, status: ActionStatus, pause_s: int) -> None:
        """Do what leads to one, which by chance alone is rare; whatever else was under way."""
        self.observe_for_a_while(0.5, 8)
        self.answer(ActionStatus.PLANNED, 0, waits=True)
        self.now_s += pause_s
        self.observe(0.5, 5_000, 1, lagging=False)
        self.decide(approve, 0, now=True, stale=False)
        self.answer(status, 0, waits=True)

    @rule()
    def restart(self) -> None:
        self.state = AlertState.model_validate_json(self.state.to_json())
        self.policy = Policy.model_validate_json(self.policy.to_json())

    @rule(frozen=st.sampled_from([False, False, False, True]))
    def turn_the_kill_switch(self, frozen: bool) -> None:
        self.policy = self.policy.model_copy(update={"frozen": frozen})

    # what must hold

    def _make(self, value: float | None, samples: int, at_us: int) -> Signal:
        return Signal(
            schema_version=1,
            signal=self.rule.signal,
            labels=LABELS,
            over_s=self.rule.over_s,
            window_end_us=at_us,
            value=value,
            samples=samples,
            detector="test",
        )

    def _signal(self, value: float | None, samples: int, lagging: bool) -> None:
        at_us = EPOCH_US + self.now_s * US
        signal = self._make(value, samples, at_us)
        self.policy = self.policy.hold(lagging)
        held = self.policy
        known = value is not None and samples >= MIN_SAMPLES and not lagging
        bad = known and value is not None and value > 0.01
        if known:
            if bad:
                self.good_since = None
            elif self.good_since is None:
                self.good_since = at_us
            if not bad:
                self.bad_since = None
            elif self.bad_since is None:
                self.bad_since = at_us

        def call(state: AlertState, policy: Policy) -> tuple[AlertState, tuple[Effect, ...], int]:
            policy = policy.model_copy(update={"lagging": held.lagging, "frozen": held.frozen})
            return (*step(self.rule, state, signal, at_us, policy), at_us)

        self._do(call, signal if known else None)

    def _do(self, call: Call, known: Signal | None) -> None:
        before = self.state
        state, effects, at_us = call(before, self.policy)
        assert call(before, self.policy)[:2] == (state, effects), "deciding twice differs"
        assert AlertState.model_validate_json(state.to_json()) == state
        self.calls.append(call)
        self.effects += effects
        for record in state.taken:
            event(f"outcome: {record.outcome}")
        self.state = state
        acts = [effect.request for effect in effects if isinstance(effect, Act)]
        intents = [effect.intent for effect in effects if isinstance(effect, Notify)]
        assert len(acts) <= 1
        assert len(intents) <= 1
        # Transitions and verdicts come first: an undo needs its verdict.
        for effect in effects:
            match effect:
                case Transitioned(transition):
                    if transition.step is not None and transition.from_phase is not None:
                        self._check_step(transition, at_us)
                    self._check_transition(transition.from_phase, transition.to_phase, known, at_us)
                case Proposed(proposal):
                    event("proposed")
                    assert proposal.action_id not in self.proposed, "an action proposed twice"
                    self.proposed[proposal.action_id] = proposal
                case Decided(decision) if decision.status is not ActionDecision.IGNORED:
                    event(f"proposal: {decision.status}")
                    assert decision.action_id in self.proposed
                    assert decision.action_id not in self.settled, "a proposal settled twice"
                    self.settled[decision.action_id] = decision.status
                    if decision.status is ActionDecision.EXPIRED:
                        assert at_us >= self.proposed[decision.action_id].expires_us
                case Judge(verdict):
                    assert verdict.action_id in self.applied, "a verdict on nothing done"
                    event(f"recovered: {verdict.recovered}")
                    assert verdict.action_id not in self.judged, "two verdicts on one action"
                    self.judged[verdict.action_id] = verdict.recovered
                case _:
                    pass
        for request in acts:
            self._check_act(request, known, at_us)
            event(f"asked: {request.step} {request.kind}")
            self.policy = self.policy.record(request, at_us)
        for intent in intents:
            self._check_intent(intent)

    def _check_step(self, transition: AlertTransition, at_us: int) -> None:
        dwell_us = at_us - self.fired[transition.incident_id]
        if transition.reason.endswith("tell people"):
            assert dwell_us >= AFTER[transition.step or ""] * US
            if transition.step == "call":
                assert transition.incident_id not in self.acknowledged
                event("called")

    def _check_transition(
        self, old: AlertPhase, new: AlertPhase, known: Signal | None, at_us: int
    ) -> None:
        if new is AlertPhase.FIRING and old in (
            AlertPhase.INACTIVE, AlertPhase.PENDING, AlertPhase.RESOLVED
        ):  # fmt: skip
            assert known is not None
            assert known.value is not None
            assert known.value > 0.01
            assert self.bad_since is not None
            assert at_us - self.bad_since >= self.rule.for_s * US
            self.fired[self.state.incident_id or ""] = at_us
        if new is AlertPhase.RESOLVED and old is not AlertPhase.RESOLVED:
            assert old in OPEN
            removed = known is None
            event(f"removed: {removed}")
            if removed:  # only after a rollback or fallback of this incident was applied
                moved = [a for a in self.applied if a.startswith(f"{self.state.incident_id}:")]
                assert moved
            else:
                assert self.bad_since is None
                assert self.good_since is not None
                assert at_us - self.good_since >= self._least_good_s(at_us) * US

    def _least_good_s(self, at_us: int) -> float:
        """Return how long the value must have been good: longer for what flaps."""
        keep_s, damp = self.rule.keep_firing_for_s, self.rule.damp
        fired_us = self.fired[self.state.incident_id or ""]
        near = [t for t in self.fired.values() if fired_us - 1_800 * US < t <= fired_us]
        if not damp.episodes or len(near) < damp.episodes:
            return keep_s
        event("flaps")
        doubled = max(keep_s, self.rule.for_s, 60) * 2 ** (len(near) - damp.episodes + 1)
        return max(keep_s, min(doubled, 1_800))

    def _check_act(self, request: ActionRequested, known: Signal | None, at_us: int) -> None:
        assert not self.policy.frozen, "an action went out with the kill switch on"
        assert not self.policy.lagging
        assert request.action_id not in self.asked, "an action was asked for twice"
        self.asked[request.action_id] = request
        assert self.state.awaiting is None, "an action while another waits for approval"
        if request.granted is not None:
            event("approved")
            assert request.granted.command_id == self.counts
            assert self.settled[request.action_id] is ActionDecision.APPROVED
            assert self.bad_since is not None, "an approved action on data that are not bad"
            assert self.unanswered is None
            self.unanswered = request.action_id
            return
        assert known is not None, "an action without known data"
        if request.kind is ActionKind.UNDO:
            assert request.undoes in self.applied
            assert self.judged[request.undoes] is False
            self.unanswered = request.action_id
            return
        assert known.value is not None
        assert known.value > 0.05
        least = ROLLBACK_SAMPLES if request.step == "rollback" else MIN_SAMPLES
        assert known.samples >= least
        assert at_us - self.fired[request.incident_id] >= AFTER[request.step] * US
        assert (request.plans is not None) is (
            request.mode is ActionMode.REQUIRED and not request.dry_run
        ), "an action that needs approval went out without"
        assert (request.incident_id, request.step) not in self.taken
        self.taken.add((request.incident_id, request.step))
        open_trials = [
            action_id
            for action_id in self.applied
            if action_id.startswith(f"{request.incident_id}:")
            and not action_id.endswith(":undo")
            and action_id not in self.judged
        ]
        assert not open_trials, "an action while another is on trial"
        assert self.unanswered is None, "an action while another waits for its answer"
        self.unanswered = request.action_id

    def _check_intent(self, intent: NotificationIntent) -> None:
        told = self.incidents.setdefault(intent.incident_id, [])
        if not told:
            assert intent.event is NotifyEvent.TRIGGER
        else:
            assert intent.event is not NotifyEvent.TRIGGER
            assert intent.dedup_key == told[0].dedup_key
            if told[-1].event is NotifyEvent.RESOLVE:
                assert intent.event is NotifyEvent.RESOLVE
        assert intent.revision == len(told) + 1
        assert intent.incident_id in self.fired
        told.append(intent)

    @invariant()
    def each_incident_has_its_own_key(self) -> None:
        keys = {told[0].dedup_key for told in self.incidents.values()}
        assert len(keys) == len(self.incidents)

    @invariant()
    def phase_and_incident_agree(self) -> None:
        if self.state.open:
            assert self.state.incident_id in self.incidents
            assert self.incidents[self.state.incident_id][-1].event is not NotifyEvent.RESOLVE

    @invariant()
    def each_step_stands_once_in_an_episode(self) -> None:
        steps = [record.step for record in self.state.taken]
        assert len(steps) == len(set(steps))

    def teardown(self) -> None:
        if not hasattr(self, "calls"):
            return
        state, policy = self.initial, self.initial_policy
        again: list[Effect] = []
        for call in self.calls:
            state, effects, at_us = call(state, policy)
            for effect in effects:
                if isinstance(effect, Act):
                    policy = policy.record(effect.request, at_us)
            again += effects
        assert again == self.effects, "the same log gave other decisions"


TestAlertMachine = AlertMachine.TestCase
_STEPS = 50
TestAlertMachine.settings = settings(
    max_examples=int(os.environ.get("CHAIN_STEPS", "6000")) // _STEPS,
    stateful_step_count=_STEPS,
    deadline=None,
)
