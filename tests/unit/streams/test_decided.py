"""Rows ahead of their table: seen at once, kept once their messages are out, or forgotten."""

from __future__ import annotations

import pytest

from schemas.topics import Topics
from streams import retry
from streams.decided import DecidedTable
from tests.support.crashing import Changelog
from tests.support.intents import intent_of
from tests.support.streams import Outbox


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_S", 0.0)


async def test_rows_are_seen_at_once_and_kept_when_the_messages_are_out() -> None:
    table, outbox = {"gone": "1", "changed": "1", "stays": "1"}, Outbox(failures=2)
    decided = DecidedTable(table, outbox)
    del decided["gone"]
    decided["changed"] = "2"
    decided["new"] = "3"
    decided["short"] = "4"
    del decided["short"]
    decided.say(Topics.NOTIFICATIONS, "k", intent_of())
    seen = {"changed": "2", "stays": "1", "new": "3"}
    assert dict(decided) == seen
    assert len(decided) == 3
    assert "gone" not in decided
    assert decided.get("gone") is None
    assert table == {"gone": "1", "changed": "1", "stays": "1"}
    await decided.settle()
    assert table == dict(decided) == seen
    assert len(outbox.of(Topics.NOTIFICATIONS)) == 1
    await decided.settle()
    assert len(outbox.sent) == 1


async def test_every_write_is_kept_in_its_order() -> None:
    table = Changelog()
    decided = DecidedTable(table, Outbox())
    decided["evaluated"] = "1"
    decided["alert"] = "waits"
    decided["alert"] = "is answered"
    decided["evaluated"] = "2"
    del decided["alert"]
    await decided.settle()
    assert table.late == [
        ("evaluated", "1"),
        ("alert", "waits"),
        ("alert", "is answered"),
        ("evaluated", "2"),
        ("alert", None),
    ]


async def test_what_is_forgotten_is_neither_said_nor_kept() -> None:
    table, outbox = {"a": "1"}, Outbox()
    decided = DecidedTable(table, outbox)
    decided["a"] = "2"
    decided.say(Topics.NOTIFICATIONS, "k", intent_of())
    decided.forget()
    await decided.settle()
    assert table == {"a": "1"}
    assert (dict(decided), outbox.sent) == ({"a": "1"}, [])


def test_a_row_that_is_not_there_cannot_be_removed() -> None:
    decided = DecidedTable({"a": "1"}, Outbox())
    del decided["a"]
    for key in ("a", "b"):
        with pytest.raises(KeyError):
            del decided[key]
        with pytest.raises(KeyError):
            decided[key]


async def test_what_became_of_an_alert_is_out_before_anybody_is_told() -> None:
    outbox = Outbox()
    decided = DecidedTable({}, outbox)
    for topic in (Topics.NOTIFICATIONS, Topics.ACTIONS, Topics.ALERTS, Topics.NOTIFICATIONS):
        decided.say(topic, "k", intent_of())
    await decided.settle()
    names = [sent[0] for sent in outbox.sent]
    assert names == [
        topic.name
        for topic in (Topics.ALERTS, Topics.ACTIONS, Topics.NOTIFICATIONS, Topics.NOTIFICATIONS)
    ]
