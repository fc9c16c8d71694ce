"""Topics into tables: what cannot be stored costs no neighbour."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY

from schemas.alert import AlertPhase, AlertTransition, Severity
from schemas.base import SCHEMA_VERSION
from schemas.command import AckCommand, DecideCommand, ExpireCommand, SilenceCommand
from schemas.topics import Topics
from streams.errors import StoreUnavailableError
from streams.inserts import Rows
from streams.sink import SINKS, SinkAgent
from tests.support.events import NOW_US
from tests.support.streams import Log
from tests.unit.streams.fakes import FakeEvent, FakeStore, FakeStream, refuses

ALERTS = next(sink for sink in SINKS if sink.topic is Topics.ALERTS)


def record(offset: int) -> FakeEvent:
    transition = AlertTransition(
        schema_version=SCHEMA_VERSION,
        fingerprint=f"f-{offset}",
        incident_id="i",
        rule="errors",
        labels={"model": "m"},
        severity=Severity.ERROR,
        from_phase=AlertPhase.PENDING,
        to_phase=AlertPhase.FIRING,
        reason="above",
        at_us=NOW_US,
    )
    return FakeEvent(transition.to_json(), offset)


def refused() -> float:
    labels = {"topic": Topics.ALERTS.name}
    return REGISTRY.get_sample_value("tocsin_messages_refused_total", labels) or 0.0


@pytest.mark.parametrize("bad", [0, 3, 6])
async def test_a_refused_row_stands_alone(bad: int) -> None:
    before = refused()
    store = FakeStore(check=refuses("fingerprint", f"f-{bad}"))
    events = [record(offset) for offset in range(7)]
    await SinkAgent(ALERTS, store, "log-1", list).run(FakeStream(events))
    rows = store.tables["alerts"]
    assert [row["kafka_offset"] for row in rows] == [i for i in range(7) if i != bad]
    assert {row["kafka_log"] for row in rows} == {"log-1"}
    assert [row["at"] for row in rows] == [NOW_US] * 6
    assert refused() - before == 1
    assert [event.acked for event in events] == [1] * 7


@pytest.mark.parametrize("value", [b"", None, b"{", b"[]", b'{"schema_version": 2}', b"\xff"])
async def test_an_unreadable_message_is_counted_and_its_neighbours_survive(
    value: bytes | None,
) -> None:
    before = refused()
    store = FakeStore()
    events = [record(0), FakeEvent(value, 1), record(2)]
    await SinkAgent(ALERTS, store, "log-1", list).run(FakeStream(events))
    assert [row["fingerprint"] for row in store.tables["alerts"]] == ["f-0", "f-2"]
    assert [row["kafka_offset"] for row in store.tables["alerts"]] == [0, 2]
    assert refused() - before == 1
    assert [event.acked for event in events] == [1, 1, 1]


async def test_the_records_of_a_chunk_have_their_own_places() -> None:
    before, store, log = refused(), FakeStore(), Log(Topics.ALERTS.name, partition=3, offset=7)
    values = [record(0).value, b"{", record(2).value]
    events: list[Any] = [log.chunk(*values), log.append(record(9).value)]
    await SinkAgent(ALERTS, store, "log-1", list).run(FakeStream(events))
    places = [(row["kafka_partition"], row["kafka_offset"]) for row in store.tables["alerts"]]
    assert places == [(3, 7), (3, 9), (3, 10)]
    assert refused() - before == 1
    assert [event.acked for event in events] == [1, 1]


async def test_an_unknown_value_is_no_zero() -> None:
    store = FakeStore()
    await SinkAgent(ALERTS, store, "log-1", list).run(FakeStream([record(0)]))
    assert store.tables["alerts"][0]["value"] is None


async def test_a_fault_of_ours_is_counted_and_does_not_stop_the_topic() -> None:
    calls = []

    def check(_rows: Rows) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise StoreUnavailableError("unexpected here")

    before = refused()
    store = FakeStore(check=check)
    await SinkAgent(ALERTS, store, "log-1", list).run(
        FakeStream([record(0), record(1)], [record(2)])
    )
    assert [row["fingerprint"] for row in store.tables["alerts"]] == ["f-2"]
    assert refused() - before == 2


async def test_every_kind_of_command_is_a_row_whose_unknown_fields_are_empty() -> None:
    base = {
        "schema_version": SCHEMA_VERSION,
        "command_id": "c",
        "by": "alice",
        "via": "api",
        "reason": "planned",
        "at_us": NOW_US,
        "subject": "s",
    }
    commands = [
        SilenceCommand(**base, matchers=("model=m",), starts_us=1, ends_us=2, mutes_actions=True),
        ExpireCommand(**base),
        AckCommand(**base),
        DecideCommand(**base, incident_id="i", proposal="p", approve=False),
    ]
    store = FakeStore()
    sink = next(sink for sink in SINKS if sink.topic is Topics.COMMANDS)
    events = [FakeEvent(command.to_json(), n) for n, command in enumerate(commands)]
    await SinkAgent(sink, store, "log-1", list).run(FakeStream(events))
    rows = store.tables["commands"]
    assert [row["type"] for row in rows] == ["silence", "expire", "ack", "decide"]
    assert [row["approve"] for row in rows] == [None, None, None, False]
    assert [row["proposal"] for row in rows] == ["", "", "", "p"]
    assert [row["matchers"] for row in rows] == [("model=m",), [], [], []]
    assert [(row["starts"], row["ends"]) for row in rows] == [(1, 2), *[(None, None)] * 3]
    assert {(row["by"], row["reason"], row["at"]) for row in rows} == {("alice", "planned", NOW_US)}
