"""The whole chain, rule to receiver, under any order of what can happen to it.

    CHAIN_STEPS=10000 python -m pytest -s tests/property/test_alert_chain.py

Signals good, bad, unknown, late and twice, a watermark that lags, time, acknowledgements, silences,
answers, restarts, kills at any write, receivers that are down, busy or refuse: after each step
``tests/support/chain_ledger.py`` looks at everything that was said, asked for and shown.
"""

from __future__ import annotations

import logging
import math
import os
from typing import Any, ClassVar

import pytest
import structlog
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from prometheus_client import REGISTRY

from alerting.delivery_failure import DELIVERY_RULE
from alerting.intent import NotificationIntent, NotifyEvent
from alerting.policy import Policy
from alerting.rules import RuleSet, parse_rules
from schemas.action import ActionRequested, ActionResult, ActionStatus
from schemas.command import AckCommand, ExpireCommand, SilenceCommand
from schemas.settings import GroupingSettings
from schemas.signal import Signal, SignalName
from schemas.topics import Topics
from streams import retry
from streams.notify import Delivery
from tests.support.chain import Chain
from tests.support.chain_ledger import Ledger
from tests.support.crashing import Killed, ShowingReceiver
from tests.support.events import NOW_US
from tests.unit.streams.test_dispatch import command

US = 1_000_000
STEPS = int(os.environ.get("CHAIN_STEPS", "1500"))
STEPS_EACH = 50
VERSIONS = ("v1", "v2", "v3")
NAMES = st.sampled_from(VERSIONS)
SIGNALS, COMMANDS = Topics.SIGNALS.name, Topics.COMMANDS.name
BEHIND_US = 2 * US
"""How far windows end behind the wall clock."""

RULES = """
version: 1
rules:
  - name: errors
    signal: error_rate
    over: 30s
    by: [model, model_version]
    condition: "> 1%"
    for: {for_s}s
    keep_firing_for: {keep_s}s
    min_samples: 100
    severity: error
    summary: "{{model_version}}: {{value:.1%}} of requests fail"
    runbook: docs/alerting.md#runbook-errors
    ladder:
      - {{name: check, after: 0s, notify: Check.}}
      - {{name: rollback, after: 1m, when: "> 5%", min_samples: 200, act: rollback,
         verify_within: 2m}}
      - {{name: call, after: 90s, notify: Call., severity: critical, unless_acknowledged: true}}
      - {{name: fallback, after: 3m, when: "> 5%", act: fallback, verify_within: 2m}}
  - name: slow
    signal: ttft_p95
    over: 30s
    by: [model, model_version]
    condition: "> 1"
    min_samples: 100
    severity: warning
    summary: "{{model_version}} is slow"
    runbook: docs/alerting.md#runbook-latency
"""


class AlertChain(RuleBasedStateMachine):
    """Three versions of a model, two rules, two receivers, people, an executor and a worker."""

    steps: ClassVar[int] = 0

    @initialize(
        for_s=st.sampled_from([0, 30]),
        keep_s=st.sampled_from([0, 60]),
        cooldown_s=st.sampled_from([0, 600]),
        by=st.sampled_from([("...",), ("...",), ("model",), ("rule", "model_version")]),
        storm_after=st.sampled_from([0, 0, 2]),
        repeat_s=st.sampled_from([600, 86_400]),
    )
    def start(
        self,
        for_s: int,
        keep_s: int,
        cooldown_s: int,
        by: tuple[str, ...],
        storm_after: int,
        repeat_s: float,
    ) -> None:
        self.now_us = NOW_US
        self.alone = by == ("...",) and not storm_after
        rules: RuleSet = parse_rules(RULES.format(for_s=for_s, keep_s=keep_s), "test")
        grouping = GroupingSettings(
            by=by, wait_s=5, interval_s=60, repeat_s=repeat_s, storm_after=storm_after
        )
        self.receivers = [ShowingReceiver(name, NOW_US) for name in ("pager", "chat")]
        self.chain = Chain(
            rules,
            Policy(cooldown_s=cooldown_s, actions_per_hour=4),
            grouping,
            self.receivers,
            lambda: self.now_us,
            self._taken,
        )
        self.ledger = Ledger(self.chain, rules, cooldown_s, alone=self.alone)
        self.silences: dict[str, SilenceCommand] = {}
        self.acked: set[str] = set()
        self.commands: list[bytes] = []
        self.values: dict[str, float] = {}
        self.faults = _faults()

    # what happens

    @rule(
        bad=st.sets(NAMES),
        value=st.sampled_from([0.02, 0.06, 0.5, 0.5]),
        samples=st.sampled_from([1, 99, 100, 199, 200, 5_000, 5_000]),
        wait_s=st.sampled_from([1, 10, 10, 30, 200]),
        count=st.sampled_from([1, 1, 3, 8, 20]),
        lag_s=st.sampled_from([2.0, 2.0, 2.0, 61.0]),
    )
    def observe(
        self, bad: set[str], value: float, samples: int, wait_s: int, count: int, lag_s: float
    ) -> None:
        for _ in range(count):
            self.now_us += wait_s * US
            self._evaluation(dict.fromkeys(bad, value), samples, lag_s)
            self._go_on()

    @rule(quiet=st.sets(NAMES, min_size=1), count=st.sampled_from([1, 5, 15]))
    def hear_nothing(self, quiet: set[str], count: int) -> None:
        for _ in range(count):
            self.now_us += 10 * US
            self._evaluation({}, 1_000, 2.0, quiet=quiet)
            self._go_on()

    @rule(count=st.integers(1, 12))
    def hear_signals_again(self, count: int) -> None:
        """Closing windows anew after a crash says their signals again, in order."""
        for record in self.chain.broker.logs.get(SIGNALS, [])[-count:]:
            self.chain.tell(SIGNALS, record.value)
        self._go_on()

    @rule(name=NAMES, late_s=st.sampled_from([1, 15, 1_000]), bad=st.booleans())
    def hear_a_late_signal(self, name: str, late_s: int, bad: bool) -> None:
        if SIGNALS in self.chain.broker.logs:
            at_us = self.now_us - BEHIND_US - late_s * US
            self._signal(SignalName.ERROR_RATE, name, 0.5 if bad else 0.0, 1_000, at_us)
            self._go_on()

    @rule(seconds=st.sampled_from([1, 5, 30, 61, 400]))
    def wait(self, seconds: int) -> None:
        for _ in range(3):
            self.now_us += seconds * US // 3
            self._go_on()

    @rule(
        pick=st.integers(0, 9),
        status=st.sampled_from([ActionStatus.APPLIED] * 4 + list(ActionStatus)),
    )
    def answer(self, pick: int, status: ActionStatus) -> None:
        waiting = self.chain.waiting()
        if waiting:
            self._answer(waiting[pick % len(waiting)], status)
            self._go_on()

    def _answer(self, asked: ActionRequested, status: ActionStatus) -> None:
        event(f"answered {asked.kind} {status}")
        self.chain.answer(
            ActionResult(
                schema_version=1,
                action_id=asked.action_id,
                kind=asked.kind,
                fingerprint=asked.fingerprint,
                incident_id=asked.incident_id,
                status=status,
                actuator="test",
                reason="test",
                executor="test",
                at_us=self.now_us,
            )
        )

    @rule(pick=st.integers(0, 9))
    def answer_again(self, pick: int) -> None:
        answers = list(self.chain.answers.values())
        if answers:
            self.chain.tell(Topics.ACTIONS.name, answers[pick % len(answers)].to_json())
            self._go_on()

    @rule(pick=st.integers(0, 9))
    def acknowledge(self, pick: int) -> None:
        known = list(self.ledger.fired)[-4:]
        if known:
            incident = known[pick % len(known)]
            self._command(AckCommand, incident, at_us=self.now_us)
            if any(state.incident_id == incident for state in self.ledger.open_alerts()):
                self.acked.add(incident)

    @rule(name=NAMES, seconds=st.sampled_from([20, 300]), actions=st.booleans())
    def silence(self, name: str, seconds: int, actions: bool) -> None:
        self.silences[name] = self._command(
            SilenceCommand,
            f"s-{name}",
            matchers=(f"model_version={name}",),
            starts_us=self.now_us,
            ends_us=self.now_us + seconds * US,
            at_us=self.now_us,
            mutes_actions=actions,
        )

    @rule(name=NAMES)
    def expire(self, name: str) -> None:
        if name in self.silences:
            ended = self.silences.pop(name)
            self._command(ExpireCommand, ended.subject, at_us=self.now_us)

    @rule(pick=st.integers(0, 9))
    def ask_again(self, pick: int) -> None:
        if self.commands:
            self.chain.tell(COMMANDS, self.commands[pick % len(self.commands)])
            self._go_on()

    @rule(
        which=st.integers(0, 1),
        mood=st.sampled_from(["well", "well", "well", "away", "away", "busy", "busy", "refuses"]),
    )
    def change_receiver(self, which: int, mood: str) -> None:
        self.receivers[which].mood = mood
        self.chain.work()

    @rule(failures=st.integers(1, 3))
    def lose_the_broker(self, failures: int) -> None:
        self.chain.broker.failures = failures

    @rule()
    def commit(self) -> None:
        self.chain.commit()

    @rule(busy=st.sampled_from([None, 0, 1]), names=st.lists(NAMES, min_size=2, max_size=2))
    def restart(self, busy: int | None, names: list[str]) -> None:
        """Stop the worker in order; a receiver that said when to come back is no sooner asked."""
        for number, name in enumerate(names if busy is not None else ()):
            if number == 1:
                self.chain.restart()
            self.receivers[busy or 0].mood = "busy"
            self.now_us += 10 * US
            self._evaluation({**self.values, name: 0.5}, 1_000, 2.0)
            self._go_on()
        self.chain.restart()
        self._go_on()

    @rule(
        kept=st.tuples(st.integers(0, 12), st.integers(0, 12)),
        name=NAMES,
        left=st.integers(0, 8),
        cut=st.sampled_from([None, None, 0, 1]),
        order=st.integers(1, 1_000),
        answered=st.booleans(),
        before=st.sampled_from([0, 0, 5, 8]),
    )
    def crash(
        self,
        kept: tuple[int, int],
        name: str,
        left: int,
        cut: int | None,
        order: int,
        answered: bool,
        before: int,
    ) -> None:
        """Kill the worker while it publishes, delivers or rests; then its topics race.

        After some time of bad values it may be asking for an action, which the executor may answer
        while the worker is away.
        """
        for number in range(before + 1):
            self.now_us += 10 * US
            self._evaluation({**self.values, name: 0.5}, 1_000, 2.0)
            if number < before:
                self._go_on()
        if cut is None:
            self.chain.broker.left = left
        else:
            self.receivers[cut].cut = True
        try:
            self.chain.pump()
            self.chain.work()
        except Killed:
            event("killed while " + ("publishing" if cut is None else "sending"))
        self.ledger.crashes += 1
        for receiver in self.receivers:
            receiver.cut = False
            receiver.not_before_us = 0  # what it asked for may be among what was lost
        for asked in self.chain.waiting() if answered else ():
            self._answer(asked, ActionStatus.APPLIED)
        self.chain.crash(*kept)
        self._go_on(order)

    # how it goes on

    def _evaluation(
        self,
        values: dict[str, float],
        samples: int,
        lag_s: float,
        quiet: set[str] | frozenset[str] = frozenset(),
    ) -> None:
        at_us, self.values = self.now_us - BEHIND_US, values
        for name in VERSIONS:
            if name not in quiet:
                value = values.get(name, 0.0)
                self._signal(SignalName.ERROR_RATE, name, value, samples, at_us)
                if name != "v3":
                    self._signal(SignalName.TTFT_P95, name, 4 * value, samples, at_us)
        self._signal(SignalName.WATERMARK_LAG, "", lag_s, 1, at_us)

    def _signal(self, signal: SignalName, name: str, value: float, samples: int, at: int) -> None:
        made = Signal(
            schema_version=1,
            signal=signal,
            labels={"model": "m", "model_version": name} if name else {},
            over_s=30 if name else 0,
            window_end_us=at,
            value=value,
            samples=samples,
            detector="test",
        )
        self.chain.tell(SIGNALS, made.to_json())

    def _command(self, kind: type[Any], subject: str, **fields: Any) -> Any:
        asked = command(kind, subject, f"c-{len(self.commands)}", **fields)
        self.commands.append(asked.to_json())
        self.chain.tell(COMMANDS, self.commands[-1])
        self._go_on()
        return asked

    def _go_on(self, order: int = 0) -> None:
        self.chain.pump(order)
        self.chain.work()
        if len(self.chain.outbox.late) + len(self.chain.alerts.late) > 40:
            self.chain.commit()

    # what must hold

    def _taken(self, receiver: str, intent: NotificationIntent) -> None:
        """Hold that nobody is bothered with what is silenced, or looked after by somebody."""
        if not self.alone or intent.rule == DELIVERY_RULE:
            return
        muting = self.chain.silences.muting(
            {**intent.labels, "rule": intent.rule, "severity": intent.severity.value}, self.now_us
        )
        if intent.event is not NotifyEvent.RESOLVE:
            assert muting is None, f"{receiver} was told of a silenced incident"

    @invariant()
    def all_that_was_said_is_right(self) -> None:
        if hasattr(self, "ledger"):
            type(self).steps += 1
            self.ledger.check()

    @invariant()
    def an_answer_is_heard(self) -> None:
        if hasattr(self, "ledger"):
            for state in self.ledger.open_alerts():
                waits = state.waiting.action_id if state.waiting else ""
                assert waits not in self.chain.answers, "waits for what was answered"

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        try:
            self._end()
        finally:
            self.chain.close()

    def _end(self) -> None:
        """Let everything be well: then everybody knows what fires, and later that it ended."""
        self.chain.broker.failures = 0
        for receiver in self.receivers:
            receiver.mood = "well"
        for name in list(self.silences):
            self.expire(name)
        # What a crash made others believe is put right by what stands being said again.
        self.now_us += 600 * US
        self._evaluation(self.values, 1_000, 2.0)
        self._let_pass(130, times=12)
        firing = [state for state in self.ledger.open_alerts() if state.open]
        assert self._firing() == [len(firing)] * len(self._whole())
        for _ in range(40):
            if not self.ledger.open_alerts():
                break
            self.now_us += 600 * US
            self._evaluation({}, 1_000, 2.0)
            self._go_on()
            self.ledger.check()
            for asked in self.chain.waiting():
                self._answer(asked, ActionStatus.FAILED)
        assert not self.ledger.open_alerts(), "an alert never ends"
        self._let_pass(130, times=12)
        assert self._firing() == [0] * len(self._whole())
        left = [key for key in self.chain.outbox if key.startswith(("member:", "group:"))]
        assert not left, "remembered for ever"
        assert _faults() == self.faults, "a rule failed"
        self.ledger.check()
        event(f"incidents: {min(len(self.ledger.fired), 10)}")
        event(f"actions: {min(len(self.ledger.asked), 5)}")

    def _let_pass(self, seconds: int, times: int) -> None:
        for _ in range(times):
            self.now_us += seconds * US
            self._go_on()
        for receiver in self.receivers:
            waiting = [
                key
                for key, text in self.chain.outbox.items()
                if key.startswith(f"{receiver.name}:")
                and Delivery.model_validate_json(text).pending
            ]
            assert not waiting, "a message waits though its receiver is well"

    def _whole(self) -> list[ShowingReceiver]:
        """Return the receivers that refused nothing."""
        return [receiver for receiver in self.receivers if not receiver.refused]

    def _firing(self) -> list[int]:
        """Return how many incidents fire, by the last message of each that a receiver shows."""
        found = []
        for receiver in self._whole():
            last = {one.dedup_key: one for one in receiver.shown if one.rule != DELIVERY_RULE}
            found.append(sum(map(_count, last.values())))
        return found


def _count(shown: NotificationIntent) -> int:
    if shown.group is not None:
        return shown.group.firing
    return 0 if shown.event is NotifyEvent.RESOLVE else 1


def _faults() -> float:
    return sum(
        REGISTRY.get_sample_value("tocsin_rule_failures_total", {"rule": name}) or 0.0
        for name in ("errors", "slow")
    )


def test_the_chain_keeps_its_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_S", 0.0)
    monkeypatch.setattr(retry, "_LONGEST_S", 0.0)
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)  # what fails here fails on purpose, and often
    AlertChain.steps = 0
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        AlertChain,
        settings=settings(
            max_examples=math.ceil(STEPS / STEPS_EACH * 1.2) + 5,
            stateful_step_count=STEPS_EACH,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{AlertChain.steps:,} steps")  # noqa: T201
    assert AlertChain.steps >= STEPS
