"""The whole chain in one process: rules, machine, dispatcher, outboxes, over logs that stay.

A worker reads four topics, each from where its offset is committed, in whatever order they come; a
killed one leaves the logs, and of its tables what was in their changelogs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from pydantic import TypeAdapter

from alerting.intent import NotificationIntent
from alerting.policy import Policy
from alerting.rules import RuleSet
from schemas.action import ActionRequested, ActionResult, action_message
from schemas.command import command_message
from schemas.settings import GroupingSettings
from schemas.signal import Signal
from schemas.topics import Topics
from streams.alert import AlertAgent
from streams.command import CommandAgent
from streams.dispatch import DispatchAgent
from streams.notify import NotifyAgent
from streams.silences import Silences
from tests.support.crashing import Broker, Changelog, Record, ShowingReceiver

__all__ = ["Chain"]

MAX_LAG_S: Final = 60.0

_SIGNAL: TypeAdapter[Signal] = TypeAdapter(Signal)
_INTENT: TypeAdapter[NotificationIntent] = TypeAdapter(NotificationIntent)

Taken = Callable[[str, NotificationIntent], None]
"""Hears of each message that the outbox of a receiver takes in."""


class _Watched(NotifyAgent):
    """An outbox that says what it takes in."""

    taken: Taken

    def take_in(self, intent: NotificationIntent) -> None:
        self.taken(self.name, intent)
        super().take_in(intent)


class Chain:
    """Logs, tables, receivers and an executor that outlive workers, and the worker of now.

    Args:
        rules: what alerts.
        policy: what may act.
        grouping: what is told as one message.
        receivers: who is told; each fails for itself.
        clock: the wall clock.
        taken: hears of each message that an outbox takes in.
    """

    def __init__(
        self,
        rules: RuleSet,
        policy: Policy,
        grouping: GroupingSettings,
        receivers: Sequence[ShowingReceiver],
        clock: Callable[[], int],
        taken: Taken,
    ) -> None:
        self.broker = Broker()
        self.alerts, self.outbox = Changelog(), Changelog()
        self.receivers = receivers
        self.clock = clock
        self._rules, self._policy, self._grouping = rules, policy, grouping
        self._taken = taken
        self._loop = asyncio.new_event_loop()
        self._read: dict[str, int] = {}
        self._committed: dict[str, int] = {}
        self._asked: dict[str, ActionRequested] = {}
        self._answers: dict[str, ActionResult] = {}
        self._obeyed = 0
        self._begin()

    def _begin(self) -> None:
        """Start a worker on what the last one left."""
        self.silences = Silences(self.outbox)
        self.alert = AlertAgent(
            self._rules,
            self._policy,
            self.alerts,
            self.broker,
            max_lag_s=MAX_LAG_S,
            silences=self.silences,
        )
        self.boxes = [
            _Watched(one, self.outbox, self.clock, durable=self._settle) for one in self.receivers
        ]
        for box in self.boxes:
            box.taken = self._taken
            box.alarm([other for other in self.boxes if other is not box])
        self.dispatch = DispatchAgent(
            self._grouping, self.outbox, self.silences, self.boxes, self.clock
        )
        self.people = CommandAgent(
            self.dispatch, self.silences, self.broker, self.alert.acknowledge
        )
        for agent in (self.dispatch, *self.boxes):
            self._do(agent.assigned(True))

    def close(self) -> None:
        """End the event loop."""
        self._loop.close()

    def restart(self) -> None:
        """Stop the worker in order and start another."""
        self.commit()
        self._begin()

    def crash(self, kept_alerts: int, kept_outbox: int) -> None:
        """Kill the worker and start another; of uncommitted writes so many are kept."""
        self.alerts.crash(kept_alerts)
        self.outbox.crash(kept_outbox)
        self.broker.left = None
        self._read = dict(self._committed)
        self._begin()

    def commit(self) -> None:
        """Commit what is read; what was written for it is in the changelogs before."""
        self.alerts.commit()
        self.outbox.commit()
        self._committed = dict(self._read)

    def pump(self, order: int = 0) -> None:
        """Read everything there is; with an ``order``, topics race by it.

        Raises:
            Killed: the broker was told to kill the worker.
        """
        rng = random.Random(order)
        while waiting := [one for name in _READERS if (one := self._next(name)) is not None]:
            record = rng.choice(waiting) if order else min(waiting, key=lambda one: one.number)
            count = 1
            if record.topic == Topics.SIGNALS.name:  # which are taken as many as wait
                count = rng.randint(1, 8) if order else 4
            at = self._read.get(record.topic, 0)
            together = self.broker.logs[record.topic][at : at + count]
            self._do(_READERS[record.topic](self, [one.value for one in together]))
            self._read[record.topic] = at + len(together)

    def work(self) -> None:
        """Tell what is due and deliver it."""
        for receiver in self.receivers:
            receiver.now_us = self.clock()
        self._do(self.dispatch.flush_due())
        for box in self.boxes:
            self._do(box.deliver_due())

    def tell(self, topic: str, value: bytes) -> None:
        """Append a record that others sent."""
        self.broker.append(topic, value)

    def waiting(self) -> list[ActionRequested]:
        """Return the requests that the executor has not answered, the oldest first."""
        log = self.broker.logs.get(Topics.ACTIONS.name, [])
        for record in log[self._obeyed :]:
            message = action_message.validate_json(record.value)
            if isinstance(message, ActionRequested):
                self._asked.setdefault(message.action_id, message)
        self._obeyed = len(log)
        return [one for key, one in self._asked.items() if key not in self._answers]

    def answer(self, result: ActionResult) -> None:
        """Let the executor say what became of a request; it says so once."""
        self._answers[result.action_id] = result
        self.tell(Topics.ACTIONS.name, result.to_json())

    @property
    def answers(self) -> dict[str, ActionResult]:
        """Return what the executor answered, by request."""
        return self._answers

    def _next(self, topic: str) -> Record | None:
        log, at = self.broker.logs.get(topic, []), self._read.get(topic, 0)
        return log[at] if at < len(log) else None

    async def _settle(self) -> None:
        """Bring what is written into the changelogs: a worker's tables share one producer."""
        self.alerts.commit()
        self.outbox.commit()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    async def _signals(self, values: Sequence[bytes]) -> None:
        await self.alert.on_signals([_SIGNAL.validate_json(value) for value in values])

    async def _actions(self, values: Sequence[bytes]) -> None:
        for message in map(action_message.validate_json, values):
            if isinstance(message, ActionResult):
                await self.alert.on_result(message)

    async def _commands(self, values: Sequence[bytes]) -> None:
        for value in values:
            await self.people.on_command(command_message.validate_json(value))

    async def _notifications(self, values: Sequence[bytes]) -> None:
        for value in values:
            self.dispatch.take_in(_INTENT.validate_json(value))


_READERS: Final[dict[str, Callable[[Chain, Sequence[bytes]], Coroutine[Any, Any, None]]]] = {
    Topics.SIGNALS.name: Chain._signals,
    Topics.ACTIONS.name: Chain._actions,
    Topics.COMMANDS.name: Chain._commands,
    Topics.NOTIFICATIONS.name: Chain._notifications,
}
