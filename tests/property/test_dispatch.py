"""Dispatcher and outbox under any order of news, people, faults, restarts and lost writes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from alerting.intent import NotificationIntent, NotifyEvent
from schemas.command import AckCommand, ExpireCommand, SilenceCommand
from schemas.settings import GroupingSettings
from streams.command import CommandAgent
from streams.dispatch import DispatchAgent
from streams.notify import Delivery, NotifyAgent
from streams.silences import Silences
from tests.support.crashing import Changelog, Killed, ShowingReceiver
from tests.support.events import NOW_US
from tests.support.intents import intent_of
from tests.support.streams import Outbox
from tests.unit.streams.test_dispatch import command

US = 1_000_000
INCIDENTS = [f"i-{number}" for number in range(6)]


class Watched(NotifyAgent):
    """An outbox that notes what it takes in, and when."""

    def __init__(self, machine: Dispatching) -> None:
        super().__init__(
            machine.receiver, machine.table, lambda: machine.now_us, durable=machine.settle
        )
        self._machine = machine

    def take_in(self, intent: NotificationIntent) -> None:
        self._machine.check_taken(intent)
        super().take_in(intent)


class Dispatching(RuleBasedStateMachine):
    """What the alert agent says is a log; a worker reads it, forgets, and reads again."""

    @initialize(
        by=st.sampled_from([("...",), ("model",), ("rule", "parity")]),
        storm_after=st.sampled_from([0, 2]),
        refuses=st.booleans(),
        repeat_s=st.sampled_from([600, 86_400, 86_400]),  # repeats would hide what was lost
    )
    def start(self, by: tuple[str, ...], storm_after: int, refuses: bool, repeat_s: float) -> None:
        self.refuses = refuses
        self.settings = GroupingSettings(
            by=by, wait_s=5, interval_s=60, repeat_s=repeat_s, storm_after=storm_after
        )
        self.alone = by == ("...",) and not storm_after
        self.loop = asyncio.new_event_loop()
        self.now_us = NOW_US
        self.table = Changelog()
        self.receiver = ShowingReceiver("shown", NOW_US)
        self.log: list[NotificationIntent] = []
        self.read = 0
        self.newest: dict[str, NotificationIntent] = {}
        self.episodes: dict[str, int] = dict.fromkeys(INCIDENTS, 0)
        self.silences: dict[str, SilenceCommand] = {}
        self.acked: set[str] = set()
        self.commands = 0
        self.checked = 0
        self._worker()

    def _worker(self) -> None:
        clock = lambda: self.now_us
        self.notify = Watched(self)
        self.known = Silences(self.table)
        self.agent = DispatchAgent(self.settings, self.table, self.known, [self.notify], clock)
        self.people = CommandAgent(self.agent, self.known, Outbox())
        self._do(self.agent.assigned(True))
        self._do(self.notify.assigned(True))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    # what happens

    @rule(
        name=st.sampled_from(INCIDENTS),
        what=st.sampled_from(["news", "loud", "loud", "loud", "resolve"]),
    )
    def say(self, name: str, what: str) -> None:
        self._say(name, what)
        self._consume()

    def _say(self, name: str, what: str) -> None:
        before = self.newest.get(name)
        if before is None or before.event is NotifyEvent.RESOLVE:
            self.episodes[name] += 1
            incident, revision, kind = f"{name}.{self.episodes[name]}", 1, NotifyEvent.TRIGGER
        else:
            incident, revision = before.incident_id, before.revision + 1
            kind = NotifyEvent.RESOLVE if what == "resolve" else NotifyEvent.UPDATE
        intent = intent_of(
            incident,
            revision,
            kind,
            loud=what == "loud" or revision == 1,
            labels={"model": "m", "name": name, "parity": str(int(name[-1]) % 2)},
            firing_since_us=self.now_us,
            at_us=self.now_us,
        )
        self.newest[name] = intent
        self.log.append(intent)

    @rule(back=st.integers(1, 8))
    def hear_again(self, back: int) -> None:
        """Rebalances and crashes make the newest records come again."""
        self.read = max(0, self.read - back)
        self._consume()

    @rule(seconds=st.sampled_from([1, 1, 5, 30, 61, 400]))
    def wait(self, seconds: int) -> None:
        for _ in range(3):
            self.now_us += seconds * US // 3
            self._work()

    @rule(name=st.sampled_from(INCIDENTS))
    def acknowledge(self, name: str) -> None:
        intent = self.newest.get(name)
        if intent is None:
            return
        self._command(command(AckCommand, intent.incident_id, self._id()))
        if intent.event is not NotifyEvent.RESOLVE:
            self.acked.add(intent.incident_id)

    @rule(name=st.sampled_from(INCIDENTS), seconds=st.sampled_from([20, 300]))
    def silence(self, name: str, seconds: int) -> None:
        asked: SilenceCommand = command(
            SilenceCommand,
            f"s-{name}",
            self._id(),
            matchers=(f"name={name}",),
            starts_us=self.now_us,
            ends_us=self.now_us + seconds * US,
            at_us=self.now_us,
        )
        self.silences[name] = asked
        self._command(asked)

    @rule(name=st.sampled_from(INCIDENTS))
    def expire(self, name: str) -> None:
        if name in self.silences:
            ended = self.silences.pop(name)
            self._command(command(ExpireCommand, ended.subject, self._id(), at_us=self.now_us))

    @rule(mood=st.sampled_from(["well", "well", "away", "busy", "refuses"]))
    def change_receiver(self, mood: str) -> None:
        self.receiver.mood = "away" if mood == "refuses" and not self.refuses else mood
        self._work()

    @rule(
        kept=st.integers(0, 12),
        when=st.sampled_from(["idle", "before_sending", "while_sending", "while_sending"]),
        name=st.sampled_from(INCIDENTS),
        what=st.sampled_from(["loud", "resolve"]),
    )
    def crash(self, kept: int, when: str, name: str, what: str) -> None:
        """Kill the worker, after it decided or in the midst of a send; its newest writes are lost.

        What it had read is committed, and so is what was written until then.
        """
        if when != "idle":
            self._say(name, what)
            self._take_in()
            self.receiver.cut = when == "while_sending"
            self.receiver.now_us = self.now_us
            try:
                self._do(self.agent.flush_due())
                if self.receiver.cut:
                    self._do(self.notify.deliver_due())
            except Killed:
                event("killed while sending")
            self.receiver.cut = False
        self.table.crash(kept)
        self.receiver.not_before_us = 0  # what it asked for may be among what was lost
        self._worker()
        self._consume()

    # how it goes on

    def _id(self) -> str:
        self.commands += 1
        return f"c-{self.commands}"

    def _command(self, asked: Any) -> None:
        self._do(self.people.on_command(asked))
        self.table.commit()  # before its offset is
        self._work()

    def _consume(self) -> None:
        self._take_in()
        self._work()

    def _take_in(self) -> None:
        while self.read < len(self.log):
            self.agent.take_in(self.log[self.read])
            self.table.commit()
            self.read += 1

    def _work(self) -> None:
        self.receiver.now_us = self.now_us
        self._do(self.agent.flush_due())
        self._do(self.notify.deliver_due())
        if len(self.table.late) > 20:
            self.table.commit(10)

    # what must hold

    async def settle(self) -> None:
        self.table.commit()

    def check_taken(self, intent: NotificationIntent) -> None:
        if not self.alone:
            return
        name = intent.labels["name"]
        silence = self.silences.get(name)
        silenced = silence is not None and silence.starts_us <= self.now_us < silence.ends_us
        ends = intent.event is NotifyEvent.RESOLVE
        assert not silenced or ends, "a silenced incident was told"
        assert not intent.loud or intent.incident_id not in self.acked, "loud though acknowledged"

    @invariant()
    def what_is_shown_is_right(self) -> None:
        if not hasattr(self, "receiver"):
            return
        assert self.receiver.violations == []
        for shown in self.receiver.shown[self.checked :]:
            if self.alone:
                self._check_alone(shown)
        self.checked = len(self.receiver.shown)

    def _check_alone(self, shown: NotificationIntent) -> None:
        assert shown.dedup_key == f"tocsin-{shown.incident_id}"
        name = shown.labels["name"]
        if shown.loud:
            assert shown.acknowledged is None
            assert shown.event is not NotifyEvent.RESOLVE
        if shown.acknowledged is not None:
            assert shown.incident_id in self.acked
        number = int(shown.incident_id.split(".")[1])
        assert number <= self.episodes[name]

    def teardown(self) -> None:
        if not hasattr(self, "receiver"):
            return
        self.receiver.mood = "well"
        for name in list(self.silences):
            self.expire(name)
        for _ in range(8):
            self.now_us += 130 * US
            self._consume()
        assert not [
            key
            for key, text in self.table.items()
            if key.startswith("shown:") and Delivery.model_validate_json(text).pending
        ]
        open_now = [
            intent for intent in self.newest.values() if intent.event is not NotifyEvent.RESOLVE
        ]
        last = {one.incident_id: one for one in self.receiver.shown}
        if not self.receiver.refused:
            # Whoever looks at the last message of each group knows how many fire, and which.
            assert sum(map(_firing, last.values())) == len(open_now)
            for intent in open_now if self.alone else ():
                assert last[intent.incident_id].at_us == intent.at_us
        members = [key for key in self.table if key.startswith("member:")]
        assert len(members) == len(open_now)
        event(f"shown {min(len(self.receiver.shown), 20)}")
        self.loop.close()


def _firing(shown: NotificationIntent) -> int:
    if shown.group is not None:
        return shown.group.firing
    return 0 if shown.event is NotifyEvent.RESOLVE else 1


Dispatching.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
TestDispatching = Dispatching.TestCase
