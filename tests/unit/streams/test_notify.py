"""Deliveries of one receiver: newest state, receipts, second tries, and giving up."""

from __future__ import annotations

import asyncio
import json

import pytest
from prometheus_client import REGISTRY

from alerting.errors import NotifyRefused, NotifyRetryable
from alerting.intent import NotificationIntent, NotifyEvent
from alerting.notifiers.base import Receipt
from schemas.alert import AlertPhase, Severity
from schemas.base import SCHEMA_VERSION
from streams import notify as notify_module
from streams.notify import Delivery, NotifyAgent
from tests.support.events import NOW_US


def intent(
    revision: int, event: NotifyEvent = NotifyEvent.UPDATE, *, incident: str = "i-1", at_s: int = 0
) -> NotificationIntent:
    return NotificationIntent(
        schema_version=SCHEMA_VERSION,
        incident_id=incident,
        fingerprint="f-1",
        dedup_key=incident,
        revision=revision,
        event=event,
        severity=Severity.ERROR,
        phase=AlertPhase.FIRING,
        rule="errors",
        title="too many errors",
        labels={"model": "m"},
        signal="error_rate",
        unit="ratio",
        samples=10,
        threshold="> 0.1",
        over_s=60,
        firing_since_us=NOW_US,
        at_us=NOW_US + at_s * 1_000_000,
        sql="SELECT 1",
        runbook="docs/runbook.md",
    )


class Receiver:
    """Shows what it is sent, after the failures it is given."""

    def __init__(self, name: str, *failures: Exception) -> None:
        self.name = name
        self.failures = list(failures)
        self.tried = 0
        self.shown: list[tuple[int, NotifyEvent, Receipt | None]] = []

    async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
        self.tried += 1
        if self.failures:
            raise self.failures.pop(0)
        self.shown.append((intent.revision, intent.event, receipt))
        return {"revision": intent.revision, "ts": (receipt or {}).get("ts", f"ts-{self.tried}")}

    async def aclose(self) -> None:
        """Nothing is open."""


class Setup:
    """One receiver's agent that owns its outbox, on a clock that a test moves."""

    def __init__(self, receiver: Receiver, table: dict[str, str] | None = None) -> None:
        self.now_us = NOW_US
        self.receiver = receiver
        self.table: dict[str, str] = {} if table is None else table
        self.agent = NotifyAgent(receiver, self.table, lambda: self.now_us)

    async def deliver(self) -> float | None:
        await self.agent.assigned(True)
        return await self.agent.deliver_due()

    def delivery(self, incident: str = "i-1") -> Delivery:
        return Delivery.model_validate_json(self.table[f"{self.receiver.name}:{incident}"])


def counted(name: str, outcome: str) -> float:
    labels = {"notifier": name, "outcome": outcome}
    return REGISTRY.get_sample_value("tocsin_notifications_total", labels) or 0.0


async def test_updates_and_the_end_use_the_first_receipt() -> None:
    setup = Setup(Receiver("n-receipts"))
    for made in (
        intent(1, NotifyEvent.TRIGGER),
        intent(2),
        intent(3, NotifyEvent.RESOLVE, at_s=60),
    ):
        setup.agent.take_in(made)
        assert await setup.deliver() is None
    assert setup.receiver.shown == [
        (1, NotifyEvent.TRIGGER, None),
        (2, NotifyEvent.UPDATE, {"revision": 1, "ts": "ts-1"}),
        (3, NotifyEvent.RESOLVE, {"revision": 2, "ts": "ts-1"}),
    ]
    assert setup.delivery().resolved_us == NOW_US + 60_000_000
    assert counted("n-receipts", "sent") == 3


async def test_an_older_or_equal_revision_is_not_sent_again() -> None:
    setup = Setup(Receiver("n-old"))
    setup.agent.take_in(intent(2))
    await setup.deliver()
    setup.agent.take_in(intent(2))
    setup.agent.take_in(intent(1))
    await setup.deliver()
    assert [revision for revision, *_ in setup.receiver.shown] == [2]
    assert counted("n-old", "repeated") == 2


async def test_only_the_newest_state_is_sent() -> None:
    setup = Setup(Receiver("n-newest"))
    setup.agent.take_in(intent(1, NotifyEvent.TRIGGER))
    setup.agent.take_in(intent(2))
    await setup.deliver()
    assert [revision for revision, *_ in setup.receiver.shown] == [2]
    assert counted("n-newest", "superseded") == 1


async def test_a_busy_receiver_is_tried_again_no_sooner_than_it_asked() -> None:
    setup = Setup(Receiver("n-busy", NotifyRetryable("429", 30)))
    setup.agent.take_in(intent(1, NotifyEvent.TRIGGER))
    wait_s = await setup.deliver()
    assert wait_s == 30
    setup.now_us += 29_000_000
    await setup.deliver()
    assert setup.receiver.tried == 1
    setup.now_us += 1_000_000
    assert await setup.deliver() is None
    assert [revision for revision, *_ in setup.receiver.shown] == [1]
    assert setup.delivery().pending is None
    assert (counted("n-busy", "retried"), counted("n-busy", "sent")) == (1, 1)


async def test_a_refusal_ends_it_and_is_counted() -> None:
    setup = Setup(Receiver("n-refuses", NotifyRefused("no such channel")))
    setup.agent.take_in(intent(1))
    assert await setup.deliver() is None
    await setup.deliver()
    assert setup.receiver.tried == 1
    assert setup.delivery().pending is None
    assert counted("n-refuses", "given_up") == 1
    assert counted("n-refuses", "sent") == 0


async def test_an_error_that_nobody_declares_is_tried_again() -> None:
    setup = Setup(Receiver("n-bug", KeyError("channel")))
    setup.agent.take_in(intent(1))
    wait_s = await setup.deliver()
    assert wait_s is not None
    setup.now_us += round(wait_s * 1e6)
    await setup.deliver()
    assert [revision for revision, *_ in setup.receiver.shown] == [1]


async def test_one_receivers_failure_leaves_the_others_outbox_alone() -> None:
    table: dict[str, str] = {}
    dead = Setup(Receiver("n-dead", *[NotifyRetryable("down")] * 3), table)
    well = Setup(Receiver("n-well"), table)
    for setup in (dead, well):
        setup.agent.take_in(intent(1))
        await setup.deliver()
    assert [revision for revision, *_ in well.receiver.shown] == [1]
    assert well.delivery().pending is None
    assert dead.receiver.shown == []
    assert dead.delivery().pending == intent(1)


async def test_what_a_stopped_worker_left_is_delivered_by_the_next() -> None:
    table: dict[str, str] = {}
    first = Setup(Receiver("n-moves"), table)
    first.agent.take_in(intent(1))
    assert await first.agent.deliver_due() is None
    assert first.receiver.shown == [], "not the owner"
    second = Setup(Receiver("n-moves"), table)
    await second.deliver()
    assert [revision for revision, *_ in second.receiver.shown] == [1]


async def test_one_failure_is_enough_to_let_the_others_of_that_receiver_wait() -> None:
    setup = Setup(Receiver("n-many", NotifyRetryable("down")))
    for number in range(20):
        setup.agent.take_in(intent(1, incident=f"i-{number}"))
    wait_s = await setup.deliver()
    assert setup.receiver.tried == 1
    assert wait_s is not None
    setup.now_us += round(wait_s * 1e6)
    assert await setup.deliver() is None
    assert len(setup.receiver.shown) == 20
    assert setup.receiver.tried == 21


async def test_one_message_that_always_fails_keeps_no_other_from_its_receiver() -> None:
    class Chokes(Receiver):
        async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
            if intent.incident_id == "i-0":
                self.tried += 1
                raise NotifyRetryable("500 on this one")
            return await super().send(intent, receipt)

    setup = Setup(Chokes("n-poison"))
    for number in range(5):
        setup.agent.take_in(intent(1, incident=f"i-{number}"))
    for _ in range(10):
        wait_s = await setup.deliver()
        setup.now_us += round((wait_s or 0) * 1e6)
    assert len(setup.receiver.shown) == 4
    assert setup.delivery("i-0").pending is not None


async def test_what_a_receiver_asked_for_outlives_the_worker() -> None:
    table: dict[str, str] = {}
    first = Setup(Receiver("n-ask", NotifyRetryable("429", 30)), table)
    first.agent.take_in(intent(1))
    await first.deliver()
    second = Setup(Receiver("n-ask"), table)
    assert await second.deliver() == 30
    assert second.receiver.tried == 0


async def test_an_attempt_that_a_crash_cut_off_is_made_again_once_its_lease_is_over() -> None:
    class Dies(Receiver):
        async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
            await super().send(intent, receipt)
            raise SystemExit  # after the receiver had it, before we know

    table: dict[str, str] = {}
    first = Setup(Dies("n-lease"), table)
    first.agent.take_in(intent(1))
    with pytest.raises(SystemExit):
        await first.deliver()
    assert first.delivery().lease is not None
    second = Setup(Receiver("n-lease"), table)
    assert await second.deliver() == 20  # it might be under way still, elsewhere
    assert second.receiver.tried == 0
    second.now_us += 20_000_000
    assert await second.deliver() is None
    assert [revision for revision, *_ in second.receiver.shown] == [1]
    assert second.delivery().lease is None


async def test_an_attempt_takes_no_longer_than_its_lease() -> None:
    class Hangs(Receiver):
        async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
            self.tried += 1
            await asyncio.Event().wait()
            raise AssertionError

    setup = Setup(Hangs("n-hangs"))
    setup.agent = NotifyAgent(setup.receiver, setup.table, lambda: setup.now_us, lease_s=0.05)
    setup.agent.take_in(intent(1))
    assert await setup.deliver() is not None
    assert setup.receiver.tried == 1
    assert setup.delivery().attempts == 1


async def test_a_newer_state_that_comes_during_a_send_is_sent_next() -> None:
    class Slow(Receiver):
        async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
            if intent.revision == 1:
                setup.agent.take_in(newer)
            return await super().send(intent, receipt)

    newer = intent(2)
    setup = Setup(Slow("n-during"))
    setup.agent.take_in(intent(1))
    await setup.deliver()
    assert setup.delivery().pending == newer
    await setup.deliver()
    assert [revision for revision, *_ in setup.receiver.shown] == [1, 2]


class Told:
    """Another receiver's outbox."""

    def __init__(self) -> None:
        self.taken: list[NotificationIntent] = []

    def take_in(self, intent: NotificationIntent) -> None:
        self.taken.append(intent)

    def newest(self, incident_id: str) -> int:
        return 0


async def test_a_receiver_that_fails_for_a_minute_is_told_to_the_others_and_so_is_its_return() -> (
    None
):
    table: dict[str, str] = {}
    setup = Setup(Receiver("n-trouble", *[NotifyRetryable("503")] * 40), table)
    other = Told()
    setup.agent.alarm([other])
    setup.agent.take_in(intent(1))
    while setup.now_us < NOW_US + 59_000_000:
        assert not other.taken
        setup.now_us += round((await setup.deliver() or 0) * 1e6)
    while not other.taken:
        setup.now_us += round((await setup.deliver() or 0) * 1e6)
    (said,) = other.taken
    assert (said.event, said.loud, said.rule) == (NotifyEvent.TRIGGER, True, "delivery-failed")
    assert "n-trouble" in said.title
    assert "503" in said.news[0]
    # It is told once, and the next worker knows.
    second = Setup(Receiver("n-trouble", NotifyRetryable("503")), table)
    second.now_us = setup.now_us
    second.agent.alarm([other])
    for _ in range(2):
        second.now_us += round((await second.deliver() or 0) * 1e6)
    await second.deliver()
    assert second.receiver.shown
    assert [one.event for one in other.taken] == [NotifyEvent.TRIGGER, NotifyEvent.RESOLVE]
    assert len({one.dedup_key for one in other.taken}) == 1
    assert [one.revision for one in other.taken] == [1, 2]
    assert gauge("n-trouble") == 0


async def test_a_message_that_is_refused_is_told_to_the_others_at_once() -> None:
    setup = Setup(Receiver("n-refusal", NotifyRefused("no such channel")))
    other = Told()
    setup.agent.alarm([other])
    setup.agent.take_in(intent(1))
    await setup.deliver()
    (said,) = other.taken
    assert "no such channel, 1 given up" in said.news[0]
    assert gauge("n-refusal") == 1


async def test_two_receivers_that_refuse_do_not_tell_each_other_for_ever() -> None:
    table: dict[str, str] = {}
    refusals = [NotifyRefused("no")] * 100
    pair = [Setup(Receiver(name, *refusals), table) for name in ("n-left", "n-right")]
    pair[0].agent.alarm([pair[1].agent])
    pair[1].agent.alarm([pair[0].agent])
    pair[0].agent.take_in(intent(1))
    for _ in range(10):
        for setup in pair:
            await setup.deliver()
    assert sum(setup.receiver.tried for setup in pair) == 2


def gauge(name: str) -> float | None:
    return REGISTRY.get_sample_value("tocsin_receiver_failing", {"notifier": name})


async def test_an_attempt_waits_for_the_changelog_but_not_for_a_broker_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []

    class Notes(Receiver):
        async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
            order.append("sent")
            return await super().send(intent, receipt)

    async def durable() -> None:
        assert json.loads(setup.table["n-durable:i-1"])["lease"]
        order.append("durable")
        if len(order) > 2:
            raise ConnectionError("no broker")

    setup = Setup(Notes("n-durable"))
    setup.agent = NotifyAgent(setup.receiver, setup.table, lambda: setup.now_us, durable=durable)
    setup.agent.take_in(intent(1))
    await setup.deliver()
    setup.agent.take_in(intent(2))
    await setup.deliver()
    assert order == ["durable", "sent", "durable", "sent"]

    async def hangs() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(notify_module, "_CHANGELOG_S", 0.01)
    setup.agent = NotifyAgent(setup.receiver, setup.table, lambda: setup.now_us, durable=hangs)
    setup.agent.take_in(intent(3))
    await setup.deliver()
    assert [revision for revision, *_ in setup.receiver.shown] == [1, 2, 3]


async def test_a_busy_receiver_is_left_alone_with_other_messages_also_after_a_restart() -> None:
    receiver = Receiver("n-busy-restart", NotifyRetryable("429", 30))
    setup = Setup(receiver)
    setup.agent.take_in(intent(1, NotifyEvent.TRIGGER))
    await setup.deliver()
    later = Setup(receiver, setup.table)
    later.agent.take_in(intent(1, NotifyEvent.TRIGGER, incident="i-2"))
    wait_s = await later.deliver()
    assert (receiver.tried, wait_s) == (1, 30)
    later.now_us += 30_000_000
    assert await later.agent.deliver_due() is None
    assert receiver.tried == 3
