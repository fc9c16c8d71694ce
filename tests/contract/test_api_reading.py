"""What the API reads, on the real engine: alerts, acknowledgements, silences as they are kept."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from schemas.action import ActionDecided, ActionDecision, ActionKind, ActionProposed
from schemas.alert import AlertPhase, AlertTransition, Severity
from schemas.base import Message
from schemas.clickhouse.migrate import migrate
from schemas.command import AckCommand, ExpireCommand, SilenceCommand
from schemas.settings import ClickHouseSettings
from schemas.topics import Topic, Topics
from streams.sink import SINKS, SinkAgent
from streams.store import Store
from tests.contract.conftest import STORE_PASSWORD
from tests.unit.streams.fakes import FakeEvent, FakeStream
from tocsin.api.reading import Reading
from tocsin.embedded.store import StoreAddress

NOW_US = time.time_ns() // 1_000


class Kept:
    """A database that gets messages by the worker's own sinks."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        self.store = Store(settings)
        self.reading = Reading(self.store)
        self.offset = 0

    async def put(self, topic: Topic, *messages: Message) -> None:
        sink = next(sink for sink in SINKS if sink.topic is topic)
        events = [FakeEvent(one.to_json(), self.offset + n) for n, one in enumerate(messages)]
        self.offset += len(messages)
        await SinkAgent(sink, self.store, "log", list).run(FakeStream(events))


@pytest.fixture
async def kept(store: StoreAddress) -> AsyncIterator[Kept]:
    settings = ClickHouseSettings(
        host=store.host,
        port=store.port,
        password=SecretStr(STORE_PASSWORD),
        database=f"a_{uuid.uuid4().hex[:12]}",
    )
    migrate(settings)
    made = Kept(settings)
    yield made
    made.store.close()


def moved(incident: str, phase: AlertPhase, at_s: float, **changes: Any) -> AlertTransition:
    data: dict[str, Any] = {
        "schema_version": 1,
        "fingerprint": incident.split("-", maxsplit=1)[0],
        "incident_id": incident,
        "rule": "error-rate",
        "labels": {"model": "m"},
        "severity": Severity.ERROR,
        "from_phase": AlertPhase.PENDING,
        "to_phase": phase,
        "value": 0.3,
        "reason": f"now {phase}",
        "at_us": NOW_US + round(at_s * 1e6),
    }
    return AlertTransition(**{**data, **changes})


def asked(kind: type[Message], subject: str, at_s: float = 0, **fields: Any) -> Any:
    data = {
        "schema_version": 1,
        "command_id": f"c-{subject}-{at_s}",
        "by": "alice",
        "via": "api",
        "reason": "planned",
        "at_us": NOW_US + round(at_s * 1e6),
        "subject": subject,
    }
    return kind(**{**data, **fields})


async def test_the_newest_phase_counts_and_the_first_acknowledgement(kept: Kept) -> None:
    await kept.put(
        Topics.ALERTS,
        moved("f1", AlertPhase.PENDING, -90),  # no incident yet
        moved("f1-1", AlertPhase.FIRING, -60),
        moved("f1-1", AlertPhase.ESCALATED, -30, severity=Severity.CRITICAL, value=0.6),
        moved("f2-1", AlertPhase.FIRING, -50),
        moved("f2-1", AlertPhase.RESOLVED, -20),
        moved("f3-1", AlertPhase.FIRING, -10, labels={"model": "x"}),
        moved("f3-1", AlertPhase.ESCALATED, -10, labels={"model": "x"}),  # in the same instant
    )
    await kept.put(
        Topics.COMMANDS,
        asked(AckCommand, "f1-1", -25),
        asked(AckCommand, "f1-1", -20, by="bob"),
        asked(AckCommand, "f9-1"),
    )
    f3, f1 = await kept.reading.alerts(NOW_US)
    assert (f3["incident_id"], f3["phase"], f3["acknowledged"]) == ("f3-1", "escalated", None)
    assert (f1["phase"], f1["severity"], f1["value"]) == ("escalated", "critical", 0.6)
    assert f1["acknowledged"] == {"by": "alice", "reason": "planned"}
    assert f1["labels"] == {"model": "m"}
    assert f1["firing_since"] < f1["changed_at"]
    every = await kept.reading.alerts(NOW_US, every=True)
    assert [one["incident_id"] for one in every] == ["f3-1", "f2-1", "f1-1"]
    (one,) = await kept.reading.alerts(NOW_US, incident="f1-1")
    assert one == f1
    assert await kept.reading.alerts(NOW_US, incident="f2-1") == []


async def test_a_silence_is_as_it_was_asked_last_until_it_ends_or_is_ended(kept: Kept) -> None:
    times = {"starts_us": NOW_US, "ends_us": NOW_US + 3_600_000_000}
    await kept.put(
        Topics.COMMANDS,
        asked(SilenceCommand, "s-1", matchers=("model=m", "rule!=x"), **times),
        asked(SilenceCommand, "s-2", matchers=("model=x",), **times),
        asked(ExpireCommand, "s-2", 60),
        asked(SilenceCommand, "s-3", matchers=("model=x",), mutes_actions=True, **times),
        asked(ExpireCommand, "s-3", -60),  # of one with that name that was there before
        asked(SilenceCommand, "s-4", matchers=("feature=",), **times),  # refused by everybody
    )
    await kept.put(Topics.ALERTS, moved("f1-1", AlertPhase.FIRING, -60))
    found = {one["silence_id"]: one for one in await kept.reading.silences(NOW_US + 120_000_000)}
    assert set(found) == {"s-1", "s-3"}
    assert found["s-1"]["matchers"] == ["model=m", "rule!=x"]
    assert (found["s-1"]["mutes_actions"], found["s-3"]["mutes_actions"]) == (False, True)
    every = await kept.reading.silences(NOW_US + 120_000_000, every=True)
    assert {one["silence_id"]: one["state"] for one in every} == {
        "s-1": "active",
        "s-2": "expired",
        "s-3": "active",
    }
    (alert,) = await kept.reading.alerts(NOW_US + 120_000_000)
    assert alert["silenced"] == "s-1"
    (alert,) = await kept.reading.alerts(NOW_US + 3_600_000_000)
    assert alert["silenced"] is None


def proposed(action: str, at_s: float, expires_s: float, **changes: Any) -> ActionProposed:
    data: dict[str, Any] = {
        "schema_version": 1,
        "action_id": action,
        "proposal": f"p-{action}-{at_s}",
        "kind": ActionKind.ROLLBACK,
        "fingerprint": action.split("-", maxsplit=1)[0],
        "incident_id": action.split(":", maxsplit=1)[0],
        "rule": "error-rate",
        "step": "rollback",
        "labels": {"model": "m"},
        "does": "v2 -> v1",
        "after": {"variant": "v1", "none": None},
        "inverse": {"variant": "v2"},
        "approvers": ("ann",),
        "reason": "8 % fail",
        "expires_us": NOW_US + round(expires_s * 1e6),
        "at_us": NOW_US + round(at_s * 1e6),
    }
    return ActionProposed(**{**data, **changes})


def word(one: ActionProposed, status: ActionDecision, at_s: float, by: str = "ann") -> Any:
    return ActionDecided(
        schema_version=1,
        action_id=one.action_id,
        proposal=one.proposal,
        fingerprint=one.fingerprint,
        incident_id=one.incident_id,
        status=status,
        by=by,
        command_id=f"c-{at_s}",
        reason="said so",
        at_us=NOW_US + round(at_s * 1e6),
    )


async def test_what_waits_for_approval_is_shown_with_its_alert_until_it_is_settled(
    kept: Kept,
) -> None:
    waits = proposed("f1-1:rollback", -60, 600)
    done = proposed("f2-1:rollback", -50, 600)
    late = proposed("f3-1:rollback", -40, -1, approvers=())
    await kept.put(Topics.ALERTS, moved("f1-1", AlertPhase.ESCALATED, -60))
    await kept.put(
        Topics.ACTIONS,
        waits,
        done,
        late,
        word(waits, ActionDecision.IGNORED, -30, "eve"),
        word(done, ActionDecision.REJECTED, -20),
        word(done, ActionDecision.IGNORED, -10, "bob"),
    )
    (one,) = await kept.reading.approvals(NOW_US)
    assert (one["action_id"], one["state"], one["decided"]) == ("f1-1:rollback", "waiting", None)
    assert (one["does"], one["taken_back_by"]) == ("v2 -> v1", "variant=v2")
    assert one["after"] == {"variant": "v1", "none": None}
    assert (one["approvers"], [i["by"] for i in one["ignored"]]) == (["ann"], ["eve"])
    assert one["proposed_at"] < one["expires_at"]
    every = await kept.reading.approvals(NOW_US, every=True)
    assert [item["state"] for item in every] == ["expired", "rejected", "waiting"]
    assert every[1]["decided"]["by"] == "ann"
    assert every[1]["ignored"][0]["command_id"] == "c--10"
    (alert,) = await kept.reading.alerts(NOW_US)
    assert [item["action_id"] for item in alert["waits_for_approval"]] == ["f1-1:rollback"]
    assert await kept.reading.approvals(NOW_US, action="f9-1:x", every=True) == []


async def test_a_store_with_nothing_in_it_shows_nothing(kept: Kept) -> None:
    assert await kept.reading.alerts(NOW_US) == []
    assert await kept.reading.silences(NOW_US, every=True) == []
