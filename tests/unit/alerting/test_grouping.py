"""Groups over time: when they are told, of whom, how loud, and what becomes of their members."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from alerting.dedup import NotifyReason
from alerting.group_page import compose_group
from alerting.grouping import (
    STORM,
    Flush,
    Group,
    Member,
    StormGate,
    flush,
    group_key,
    new_group,
    schedule,
)
from alerting.intent import Acknowledgement, Approval, NotificationIntent, NotifyEvent, Share
from schemas.alert import AlertPhase, Severity
from schemas.settings import GroupingSettings
from tests.support.events import NOW_US
from tests.support.intents import intent_of, series

SETTINGS = GroupingSettings(by=("model",), wait_s=30, interval_s=300, repeat_s=3_600)
RESOLVE = NotifyEvent.RESOLVE


class Driver:
    """One group through time; every state goes through JSON."""

    def __init__(self, *, alone: bool = False, settings: GroupingSettings = SETTINGS) -> None:
        self.settings = settings
        self.members: dict[str, Member] = {}
        self.group: Group | None = None
        self.alone = alone
        self.muted: set[str] = set()
        self.now_us = NOW_US

    def take(self, intent: NotificationIntent, **changes: Any) -> None:
        key = group_key(intent, ("...",) if self.alone else self.settings.by)
        if self.group is None:
            self.group = new_group(key, intent, self.settings, self.now_us)
        before = self.members.get(intent.incident_id, Member(group=key, intent=intent))
        member = before.model_copy(update={"intent": intent, **changes})
        self.members[intent.incident_id] = member
        self.group = schedule(self.group, intent, self.settings, self.now_us)

    def flush(self, at_s: float) -> Flush:
        self.now_us = NOW_US + round(at_s * 1e6)
        assert self.group is not None
        found = flush(
            self.group,
            self.members.values(),
            lambda member: member.intent.incident_id in self.muted,
            self.settings,
            self.now_us,
        )
        self.group = Group.model_validate_json(found.group.to_json())
        self.members = {
            member.intent.incident_id: Member.model_validate_json(member.to_json())
            for member in found.kept
        }
        return found


def told(found: Flush) -> list[str]:
    return [member.intent.incident_id for member in found.tell]


def test_a_new_group_waits_for_more_of_its_kind_and_tells_of_all_at_once() -> None:
    driver = Driver()
    for intent in series(3):
        driver.take(intent)
    assert driver.group is not None
    assert driver.group.next_us == NOW_US + 30_000_000
    found = driver.flush(30)
    assert (found.reason, found.event, found.loud) == (
        NotifyReason.FIRST,
        NotifyEvent.TRIGGER,
        True,
    )
    assert told(found) == ["i-0", "i-1", "i-2"]
    assert found.group.next_us == NOW_US + 330_000_000


def approval_of(incident: str) -> Approval:
    return Approval(
        action_id=f"{incident}:rollback",
        proposal="p",
        deed="rollback",
        does="v2 -> v1",
        inverse="v2",
        expires_us=NOW_US,
    )


def test_a_groups_message_asks_for_approval_of_one_thing_or_of_none() -> None:
    driver = Driver()
    note = {"team": "inference"}
    driver.take(intent_of("a", annotations={**note, "page": "a"}))
    driver.take(intent_of("b", annotations={**note, "page": "b"}, approval=approval_of("b")))
    page = compose_group(driver.flush(30), driver.now_us)
    assert page.annotations == note
    assert page.approval == approval_of("b")
    assert page.incident_id != "b"
    driver.take(intent_of("a", 2, loud=True, approval=approval_of("a")))
    page = compose_group(driver.flush(60), driver.now_us)
    assert page.approval is None  # a button must not stand for either
    driver.take(intent_of("b", 2, RESOLVE, approval=None))
    page = compose_group(driver.flush(400), driver.now_us)
    assert page.approval == approval_of("a")


def test_what_waits_for_approval_is_loud_though_somebody_looks_after_the_incident() -> None:
    driver = Driver(alone=True)
    ack = Acknowledgement(by="ann", at_us=NOW_US)
    driver.take(intent_of("a"), acknowledged=ack)
    driver.flush(0)
    driver.take(intent_of("a", 2, loud=True))
    assert not driver.flush(1).loud
    driver.take(intent_of("a", 3, loud=True, approval=approval_of("a")))
    assert driver.flush(2).loud
    driver.take(intent_of("a", 4, approval=approval_of("a")))
    assert not driver.flush(3).loud


def test_what_has_fired_for_longer_than_the_wait_does_not_wait() -> None:
    late = intent_of(firing_since_us=NOW_US - 31_000_000)
    assert new_group("labels:x", late, SETTINGS, NOW_US).next_us == NOW_US


def test_new_alerts_resolved_ones_and_repeats_follow_the_interval() -> None:
    driver = Driver()
    driver.take(intent_of("a"))
    assert driver.flush(30).reason is NotifyReason.FIRST
    assert driver.flush(330).reason is NotifyReason.DO_NOT
    driver.take(intent_of("b"))
    found = driver.flush(630)
    assert (found.reason, found.event, found.loud) == (
        NotifyReason.NEW_ALERTS,
        NotifyEvent.UPDATE,
        True,
    )
    driver.take(intent_of("a", 2, RESOLVE))
    found = driver.flush(930)
    assert (found.reason, found.event, found.loud) == (
        NotifyReason.NEW_RESOLVED,
        NotifyEvent.UPDATE,
        False,
    )
    assert [member.intent.incident_id for member in found.gone] == ["a"]
    assert driver.flush(1_230).reason is NotifyReason.DO_NOT
    found = driver.flush(930 + 3_601)
    assert (found.reason, found.loud) == (NotifyReason.REPEAT, True)
    driver.take(intent_of("b", 2, RESOLVE))
    found = driver.flush(5_000)
    assert (found.reason, found.event) == (NotifyReason.ALL_RESOLVED, RESOLVE)
    assert not found.kept


def test_an_incident_of_its_own_is_told_at_once_and_so_are_its_news() -> None:
    driver = Driver(alone=True)
    driver.take(intent_of("a"))
    assert driver.group is not None
    assert driver.group.next_us == NOW_US
    first = driver.flush(0)
    assert compose_group(first, NOW_US).dedup_key == "tocsin-a"
    driver.now_us += 5_000_000
    driver.take(intent_of("a", 2, loud=True))
    assert driver.group.next_us == NOW_US + 5_000_000
    found = driver.flush(5)
    assert (found.reason, found.event, found.loud) == (NotifyReason.NEWS, NotifyEvent.UPDATE, True)
    driver.take(intent_of("a", 3, RESOLVE))
    found = driver.flush(6)
    assert (found.reason, found.event) == (NotifyReason.ALL_RESOLVED, RESOLVE)
    assert compose_group(found, driver.now_us).news == ("news 3",)


def test_loud_news_hurry_a_group_no_more_often_than_it_waits_and_a_storm_not_at_all() -> None:
    driver = Driver()
    driver.take(intent_of("a"))
    driver.flush(30)
    driver.now_us = NOW_US + 31_000_000
    driver.take(intent_of("a", 2, loud=True))
    assert driver.group is not None
    assert driver.group.next_us == NOW_US + 60_000_000
    storm = driver.group.model_copy(update={"key": STORM, "next_us": NOW_US + 330_000_000})
    assert schedule(storm, intent_of("a", 3, loud=True), SETTINGS, driver.now_us) == storm


def test_what_ended_before_anybody_heard_of_it_is_not_told() -> None:
    driver = Driver()
    driver.take(intent_of("a"))
    driver.take(intent_of("b"))
    driver.take(intent_of("b", 2, RESOLVE))
    found = driver.flush(30)
    assert told(found) == ["a"]
    assert [member.intent.incident_id for member in found.gone] == ["b"]


def test_the_muted_are_not_told_but_for_the_end_of_what_was() -> None:
    driver = Driver()
    driver.take(intent_of("a"))
    driver.flush(30)
    driver.muted = {"a", "b"}
    driver.take(intent_of("a", 2, loud=True))
    driver.take(intent_of("b"))
    found = driver.flush(330)
    assert (found.reason, told(found), len(found.kept)) == (NotifyReason.DO_NOT, [], 2)
    driver.take(intent_of("a", 3, RESOLVE))
    found = driver.flush(630)
    assert (found.reason, told(found), found.event) == (NotifyReason.ALL_RESOLVED, ["a"], RESOLVE)
    driver.muted.clear()
    found = driver.flush(930)
    assert (found.reason, told(found), found.loud) == (NotifyReason.NEW_ALERTS, ["b"], True)


def test_a_receiver_does_not_take_what_is_muted_now_for_ended() -> None:
    driver = Driver()
    driver.take(intent_of("a"))
    driver.take(intent_of("b"))
    driver.flush(30)
    driver.muted = {"b"}
    driver.take(intent_of("a", 2, RESOLVE))
    found = driver.flush(330)
    assert (told(found), found.event) == (["a"], NotifyEvent.UPDATE)


def test_an_acknowledged_incident_is_quiet_and_goes_on_being_recorded() -> None:
    driver = Driver(alone=True)
    driver.take(intent_of("a"))
    driver.flush(0)
    ack = Acknowledgement(by="alice", at_us=NOW_US, reason="on it")
    driver.take(intent_of("a"), acknowledged=ack)
    found = driver.flush(1)
    assert (found.event, found.loud) == (NotifyEvent.ACKNOWLEDGE, False)
    page = compose_group(found, driver.now_us)
    assert page.news == ("acknowledged by alice: on it",)
    assert page.acknowledged == ack
    driver.take(intent_of("a", 2, loud=True))
    found = driver.flush(2)
    assert (found.reason, found.event, found.loud) == (NotifyReason.NEWS, NotifyEvent.UPDATE, False)
    assert driver.flush(10_000).reason is NotifyReason.DO_NOT  # nobody is reminded
    driver.take(intent_of("a", 3, RESOLVE))
    assert driver.flush(10_001).event is RESOLVE


def test_an_acknowledged_group_gets_loud_when_another_joins() -> None:
    driver = Driver()
    driver.take(intent_of("a"), acknowledged=Acknowledgement(by="alice", at_us=NOW_US))
    driver.flush(30)
    driver.take(intent_of("b"))
    assert driver.flush(330).loud


@pytest.mark.parametrize("by", [("model",), ("rule", "severity"), ("nothing",), ()])
def test_a_group_shares_the_values_of_its_labels(by: tuple[str, ...]) -> None:
    same = intent_of("a"), intent_of("b")
    assert group_key(same[0], by) == group_key(same[1], by)
    other = intent_of("c", labels={"model": "x"}, rule="slow", severity=Severity.WARNING)
    assert (group_key(other, by) == group_key(same[0], by)) is (by in [("nothing",), ()])


def test_a_group_that_ended_and_begins_anew_has_another_dedup_key() -> None:
    first = new_group("labels:x", intent_of(), SETTINGS, NOW_US)
    again = new_group("labels:x", intent_of(), SETTINGS, NOW_US + 1)
    assert first.dedup_key != again.dedup_key


def test_the_gate_lets_so_many_new_messages_through_in_its_window() -> None:
    settings = SETTINGS.model_copy(update={"storm_after": 2, "storm_window_s": 10})
    gate = StormGate()
    for at_us in (NOW_US, NOW_US + 1):
        assert gate.open(settings, at_us)
        gate = gate.passed(settings, at_us)
    assert not gate.open(settings, NOW_US + 2)
    assert gate.open(settings, NOW_US + 10_000_000)
    assert gate.open(settings.model_copy(update={"storm_after": 0}), NOW_US + 2)


def test_a_message_of_many_counts_and_shows_what_they_share() -> None:
    driver = Driver()
    for number in range(30):
        driver.take(
            intent_of(
                f"i-{number}",
                severity=Severity.CRITICAL if number == 7 else Severity.WARNING,
                rule="slow" if number == 7 else "error-rate",
                labels={"model": "m", "model_version": "v2" if number else "v1"},
            )
        )
    driver.muted = {"i-3", "i-4"}
    page = compose_group(driver.flush(30), driver.now_us)
    assert page.group is not None
    assert (page.group.firing, page.group.muted, page.group.resolved) == (28, 2, 0)
    assert page.title == "28 alerts of 2 rules on model=m"
    assert page.description == "rules: error-rate 27, slow 1\nmodel_version: v2 27, v1 1"
    assert page.group.examples[0].startswith("CRITICAL slow (m, v2): 30.00%")
    assert page.severity is Severity.CRITICAL
    assert page.labels == {"model": "m"}
    assert page.news == ("28 began to fire, 28 fire in all", "2 more are muted")
    for number in range(30):
        driver.take(intent_of(f"i-{number}", 2, RESOLVE))
    end = compose_group(driver.flush(330), driver.now_us)
    assert (end.event, end.phase) == (RESOLVE, AlertPhase.RESOLVED)
    assert end.group is not None
    assert (end.group.firing, end.group.resolved) == (0, 28)
    assert end.dedup_key == page.dedup_key
    assert end.revision == page.revision + 1


def test_shares_that_are_found_later_are_told_quietly() -> None:
    driver = Driver(alone=True)
    driver.take(intent_of("a"))
    driver.flush(0)
    share = Share(label="model_version", value="v2", share=0.97, traffic=0.3, requests=10)
    driver.take(intent_of("a"), shares=(share,))
    found = driver.flush(1)
    page = compose_group(found, driver.now_us)
    assert (found.loud, page.shares) == (False, (share,))
    assert page.news == ("model_version=v2 carries 97% of the change",)
    assert driver.flush(2).reason is NotifyReason.DO_NOT


def test_a_repeat_says_for_how_long() -> None:
    driver = Driver(alone=True)
    driver.take(intent_of("a"))
    driver.flush(0)
    page = compose_group(driver.flush(3_601), driver.now_us)
    assert page.news == ("still firing after 1h1s, nobody has acknowledged it",)
    assert page.loud


def test_the_decision_is_the_same_twice() -> None:
    driver = Driver()
    driver.take(intent_of("a"))
    assert driver.group is not None
    args = (driver.group, list(driver.members.values()), lambda _: False, SETTINGS, NOW_US)
    assert dataclasses.asdict(flush(*args)) == dataclasses.asdict(flush(*args))
