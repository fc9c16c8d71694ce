"""A receiver that is told of everything again and again: batches, ends, faults and restarts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from alerting.errors import NotifyRefused, NotifyRetryable
from alerting.intent import NotificationIntent, NotifyEvent
from schemas.alert import Severity
from streams.mirror import MirrorAgent, Mirrors
from tests.support.events import NOW_US
from tests.support.intents import intent_of, series
from tests.unit.streams.test_notify import Told

RESOLVE = NotifyEvent.RESOLVE


class Receiver:
    """Takes alerts, after the failures it is given; incidents in ``bad`` it never takes."""

    resend_s = 60.0

    def __init__(self, name: str = "mirror", *failures: Exception) -> None:
        self.name = name
        self.failures = list(failures)
        self.bad: set[str] = set()
        self.pushes: list[list[tuple[str, NotifyEvent, tuple[str, ...]]]] = []

    async def push(self, alerts: Sequence[tuple[NotificationIntent, Sequence[str]]]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.pushes.append(
            [(intent.incident_id, intent.event, tuple(ended)) for intent, ended in alerts]
        )
        if any(intent.incident_id in self.bad for intent, _ in alerts):
            raise NotifyRefused("400")


class Setup:
    def __init__(self, receiver: Receiver, table: dict[str, str] | None = None) -> None:
        self.now_us = NOW_US
        self.receiver = receiver
        self.table: dict[str, str] = {} if table is None else table
        self.agent = MirrorAgent(receiver, self.table, lambda: self.now_us)

    async def send(self, at_s: float = 0) -> float | None:
        self.now_us = max(self.now_us, NOW_US + round(at_s * 1e6))
        await self.agent.assigned(True) if not self.agent._owner else None
        return await self.agent.send_due()


def test_the_double_is_what_the_agent_wants() -> None:
    assert isinstance(Receiver(), Mirrors)


async def test_what_fires_is_sent_again_and_what_resolved_for_five_minutes_more() -> None:
    setup = Setup(Receiver())
    setup.agent.take_in(intent_of("a"))
    assert await setup.send() == 60
    await setup.send(59)
    assert len(setup.receiver.pushes) == 1
    await setup.send(60)
    assert len(setup.receiver.pushes) == 2
    setup.agent.take_in(intent_of("a", 2, RESOLVE, at_s=61))
    for at_s in range(61, 600, 20):
        await setup.send(at_s)
    ends = setup.receiver.pushes[2:]
    assert [push[0][1] for push in ends] == [RESOLVE] * len(ends)
    assert 5 <= len(ends) <= 7
    assert setup.table == {}
    assert await setup.send(700) is None


async def test_many_are_sent_in_few_requests() -> None:
    setup = Setup(Receiver())
    for intent in series(1_000):
        setup.agent.take_in(intent)
    await setup.send()
    assert [len(push) for push in setup.receiver.pushes] == [256, 256, 256, 232]


async def test_a_restart_sends_at_once_what_fires() -> None:
    first = Setup(Receiver())
    first.agent.take_in(intent_of("a"))
    await first.send()
    second = Setup(Receiver(), first.table)
    await second.send(1)
    assert second.receiver.pushes == [[("a", NotifyEvent.TRIGGER, ())]]


async def test_a_severity_that_was_shown_is_ended_when_it_changes() -> None:
    setup = Setup(Receiver())
    setup.agent.take_in(intent_of("a"))
    await setup.send()
    setup.agent.take_in(intent_of("a", 2, severity=Severity.CRITICAL))
    await setup.send(1)
    assert setup.receiver.pushes[-1] == [("a", NotifyEvent.UPDATE, ("error",))]
    later = Setup(setup.receiver, setup.table)
    await later.send(2)
    assert later.receiver.pushes[-1] == [("a", NotifyEvent.UPDATE, ("error",))]


async def test_a_receiver_that_is_away_is_asked_no_sooner_than_it_wants_and_gets_everything() -> (
    None
):
    setup = Setup(Receiver("mirror-away", NotifyRetryable("429", 30)))
    for intent in series(300):
        setup.agent.take_in(intent)
    assert await setup.send() == 30
    await setup.send(29)
    assert setup.receiver.pushes == []
    await setup.send(30)
    assert sum(len(push) for push in setup.receiver.pushes) == 300


async def test_one_that_is_refused_costs_its_neighbours_nothing_and_is_told_elsewhere() -> None:
    setup = Setup(Receiver("mirror-bad"))
    other = Told()
    setup.agent.alarm([other])
    setup.receiver.bad = {"i-7"}
    for intent in series(20):
        setup.agent.take_in(intent)
    await setup.send()
    singles = {push[0][0] for push in setup.receiver.pushes if len(push) == 1}
    assert singles == {f"i-{number}" for number in range(20)}
    assert setup.agent.newest("i-7") == 0
    assert setup.agent.newest("i-8") == 1
    assert "1 given up" in other.taken[0].news[0]


async def test_a_fault_of_ours_loses_nothing() -> None:
    setup = Setup(Receiver("mirror-bug", KeyError("x")))
    setup.agent.take_in(intent_of("a"))
    wait_s = await setup.send()
    assert wait_s
    await setup.send(wait_s)
    assert len(setup.receiver.pushes) == 1


async def test_who_does_not_own_the_table_sends_nothing() -> None:
    setup = Setup(Receiver())
    setup.agent.take_in(intent_of("a"))
    assert await setup.agent.send_due() is None
    assert setup.receiver.pushes == []


@pytest.mark.parametrize("revisions", [(1, 1), (2, 1)])
async def test_an_older_state_is_not_shown(revisions: tuple[int, int]) -> None:
    setup = Setup(Receiver())
    for revision in revisions:
        setup.agent.take_in(intent_of("a", revision))
    await setup.send()
    assert setup.agent.newest("a") == revisions[0]
    assert len(setup.receiver.pushes) == 1
