"""Deliveries of one receiver: newest state, receipts, second tries, and giving up."""

from __future__ import annotations

from prometheus_client import REGISTRY

from alerting.errors import NotifyRefused, NotifyRetryable
from alerting.intent import NotificationIntent, NotifyEvent
from alerting.notifiers.base import Receipt
from schemas.alert import AlertPhase, Severity
from schemas.base import SCHEMA_VERSION
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
