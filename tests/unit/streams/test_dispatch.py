"""Incidents to messages, over crashes, silences, acknowledgements and storms."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

import pytest
from prometheus_client import REGISTRY

from alerting.inhibit import Inhibition
from alerting.intent import NotificationIntent, NotifyEvent, Share
from alerting.rules.scope import Matcher
from schemas.alert import Severity
from schemas.base import Message
from schemas.command import AckCommand, DecideCommand, ExpireCommand, SilenceCommand
from schemas.settings import GroupingSettings
from schemas.topics import Topics
from streams.command import Acknowledges, CommandAgent, Decides
from streams.dispatch import DispatchAgent
from streams.explaining import Explaining, Explains
from streams.silences import Silences
from tests.support.events import NOW_US
from tests.support.intents import intent_of, series
from tests.support.streams import Log, Outbox
from tests.unit.alerting.test_inhibit import Rule
from tests.unit.streams.fakes import FakeEvent, FakeStream

RESOLVE, ACK = NotifyEvent.RESOLVE, NotifyEvent.ACKNOWLEDGE


class Box:
    """A receiver's outbox that keeps what it takes in, newer revisions only."""

    def __init__(self) -> None:
        self.taken: list[NotificationIntent] = []
        self.revisions: dict[str, int] = {}

    def take_in(self, intent: NotificationIntent) -> None:
        if intent.revision > self.newest(intent.incident_id):
            self.taken.append(intent)
            self.revisions[intent.incident_id] = intent.revision

    def newest(self, incident_id: str) -> int:
        return self.revisions.get(incident_id, 0)

    @property
    def events(self) -> list[tuple[str, NotifyEvent, bool]]:
        return [(intent.incident_id, intent.event, intent.loud) for intent in self.taken]


class Setup:
    """A dispatcher that owns its table, on a clock that a test moves."""

    def __init__(
        self,
        settings: GroupingSettings | None = None,
        table: MutableMapping[str, str] | None = None,
        box: Box | None = None,
        inhibitions: tuple[Inhibition, ...] = (),
        explains: Explains | None = None,
        acknowledges: Acknowledges | None = None,
        decides: Decides | None = None,
    ) -> None:
        self.now_us = NOW_US
        self.table: MutableMapping[str, str] = {} if table is None else table
        self.box = box or Box()
        self.mirror = Box()
        self.publisher = Outbox()
        self.silences = Silences(self.table)
        self.explaining = Explaining(explains) if explains is not None else None
        self.agent = DispatchAgent(
            settings or GroupingSettings(),
            self.table,
            self.silences,
            [self.box],
            lambda: self.now_us,
            mirrors=[self.mirror],
            inhibitions=inhibitions,
            on_told=self.explaining.want if self.explaining else lambda _: None,
        )
        self.commands = CommandAgent(
            self.agent, self.silences, self.publisher, acknowledges, decides
        )

    async def flush(self, at_s: float = 0) -> float:
        self.now_us = max(self.now_us, NOW_US + round(at_s * 1e6))
        await self.agent.assigned(True)
        return await self.agent.flush_due()

    async def told(self, *intents: NotificationIntent, at_s: float = 0) -> None:
        for intent in intents:
            self.agent.take_in(intent)
        await self.flush(at_s)

    async def ask(self, command: Any) -> None:
        stream = FakeStream([FakeEvent(command.to_json())])
        await self.commands.run(stream)

    async def explain(self) -> None:
        assert self.explaining is not None
        await self.explaining.explain_next(self.agent.notices, self.agent.look_at)


def command(kind: type[Message], subject: str, id_: str = "c-1", **fields: Any) -> Any:
    data = {
        "schema_version": 1,
        "command_id": id_,
        "by": "alice",
        "via": "api",
        "reason": "on it",
        "at_us": NOW_US,
        "subject": subject,
    }
    return kind(**{**data, **fields})


def silence(*matchers: str, id_: str = "s-1", **fields: Any) -> SilenceCommand:
    times = {"starts_us": NOW_US, "ends_us": NOW_US + 3_600_000_000}
    made: SilenceCommand = command(
        SilenceCommand, id_, f"c-{id_}", **{"matchers": matchers, **times, **fields}
    )
    return made


def refused(topic: str) -> float:
    return REGISTRY.get_sample_value("tocsin_messages_refused_total", {"topic": topic}) or 0.0


async def test_one_incident_is_one_message_from_beginning_to_end() -> None:
    setup = Setup()
    await setup.told(intent_of("a"))
    await setup.told(intent_of("a", 2, loud=True), at_s=5)
    await setup.told(intent_of("a", 3, RESOLVE), at_s=9)
    assert setup.box.events == [
        ("a", NotifyEvent.TRIGGER, True),
        ("a", NotifyEvent.UPDATE, True),
        ("a", RESOLVE, False),
    ]
    assert {intent.dedup_key for intent in setup.box.taken} == {"tocsin-a"}
    assert not [key for key in setup.table if key.startswith(("member:", "group:"))]


async def test_what_comes_again_after_its_end_is_not_told_again() -> None:
    setup = Setup()
    await setup.told(intent_of("a"))
    await setup.told(intent_of("a", 2, RESOLVE))
    later = Setup(table=setup.table, box=setup.box)
    await later.told(intent_of("a"), intent_of("a", 2, RESOLVE), at_s=60)
    assert len(setup.box.taken) == 2


async def test_an_incident_that_goes_on_after_its_end_was_said_is_told_anew() -> None:
    """A worker that died may have said an end that its successor, hearing more, decides not to."""
    setup = Setup()
    await setup.told(intent_of("a"))
    await setup.told(intent_of("a", 2, RESOLVE), at_s=10)
    early = intent_of("a", 2, at_s=10)  # no newer than the end: perhaps repeated
    await setup.told(early, at_s=11)
    assert len(setup.box.taken) == 2
    goes_on = intent_of("a", 2, at_s=20)
    await setup.told(goes_on, goes_on, at_s=30)
    again = setup.box.taken[-1]
    assert setup.box.events[2:] == [("a", NotifyEvent.TRIGGER, True)]
    assert "not over" in again.news[0]
    assert again.dedup_key == "tocsin-a"
    assert setup.mirror.taken[-1].event is NotifyEvent.UPDATE
    await setup.told(intent_of("a", 3, RESOLVE), at_s=60)
    assert [event for _, event, _ in setup.box.events][3:] == [RESOLVE]
    assert setup.mirror.taken[-1].event is RESOLVE
    assert not [key for key in setup.table if key.startswith(("member:", "group:"))]


async def test_a_restart_goes_on_and_repeats_nothing() -> None:
    setup = Setup()
    await setup.told(intent_of("a"))
    later = Setup(table=setup.table, box=setup.box)
    await later.told(intent_of("a"), at_s=30)
    assert len(setup.box.taken) == 1
    await later.told(intent_of("a", 2, RESOLVE), at_s=60)
    assert setup.box.events[-1] == ("a", RESOLVE, False)


class Stops(dict[str, str]):
    """A table whose changelog ends after some writes: what a kill -9 leaves."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def __setitem__(self, key: str, value: str) -> None:
        if self.left > 0:
            super().__setitem__(key, value)
        self.left -= 1

    def __delitem__(self, key: str) -> None:
        if self.left > 0:
            super().__delitem__(key)
        self.left -= 1


class TableBox(Box):
    """An outbox whose rows end with the same changelog."""

    def __init__(self, table: Stops) -> None:
        super().__init__()
        self.table = table

    def take_in(self, intent: NotificationIntent) -> None:
        if self.table.left > 0:
            super().take_in(intent)
        self.table.left -= 1


@pytest.mark.parametrize("left", range(16))
async def test_a_crash_at_any_write_loses_no_message_and_changes_no_dedup_key(left: int) -> None:
    log = [intent_of("a"), intent_of("a", 2, loud=True), intent_of("a", 3, RESOLVE)]
    table = Stops(left)
    box = TableBox(table)
    crashing = Setup(table=table, box=box)
    for intent in log:
        await crashing.told(intent)
    assert table.left <= 0 or left > 12
    table.left = 10_000
    after = Setup(table=table, box=box)
    for intent in log:  # none of it was acknowledged
        await after.told(intent, at_s=1)
    await after.flush(400)
    assert {intent.dedup_key for intent in box.taken} == {"tocsin-a"}
    events = [intent.event for intent in box.taken]
    assert events[-1] is RESOLVE
    assert NotifyEvent.TRIGGER in events
    assert not [key for key in table if key.startswith(("member:", "group:"))]


async def test_ten_thousand_series_give_a_few_messages_with_counts_and_nothing_is_lost() -> None:
    setup = Setup()
    began = time.process_time()
    raw = [intent.to_json() for intent in series(10_000)]
    log = Log(Topics.NOTIFICATIONS.name)
    chunks: list[Any] = [log.chunk(*raw[at : at + 200]) for at in range(0, len(raw), 200)]
    await setup.agent.run(FakeStream(chunks))
    assert {chunk.acked for chunk in chunks} == {1}
    await setup.flush(0)
    wait_s = await setup.flush(10)
    firing = list(setup.box.taken)
    assert wait_s > 0
    assert len(firing) == 7
    storm = firing[-1]
    assert storm.group is not None
    assert len({intent.dedup_key for intent in firing}) == 7
    assert storm.group.firing + 6 == 10_000
    assert storm.title == "error-rate: 9,994 alerts of 1 rule on model=m"
    assert "i-" in storm.group.examples[0]
    assert len(setup.mirror.taken) == 10_000

    for number in range(10_000):
        setup.agent.take_in(intent_of(f"i-{number}", 2, RESOLVE))
    await setup.flush(20)
    await setup.flush(320)
    ends = setup.box.taken[len(firing) :]
    print(f"10,000 series: {time.process_time() - began:.2f} s CPU")  # noqa: T201
    assert len(setup.box.taken) < 20
    assert [intent.event for intent in ends] == [RESOLVE] * 7
    assert ends[-1].group is not None
    assert ends[-1].group.resolved == 9_994
    await setup.flush(620)
    assert not [key for key in setup.table if key.startswith(("member:", "group:"))]


async def test_a_storm_over_a_restart_is_one_message_still() -> None:
    setup = Setup()
    await setup.told(*series(50))
    later = Setup(table=setup.table, box=setup.box)
    await later.flush(10)
    await later.told(*(intent_of(f"j-{n}") for n in range(50)), at_s=11)
    await later.flush(312)
    keys = {intent.dedup_key for intent in setup.box.taken}
    assert len(keys) == 7
    group = setup.box.taken[-1].group
    assert group is not None
    assert group.firing == 94


async def test_a_silence_mutes_its_alerts_until_it_ends_and_the_rest_goes_on() -> None:
    setup = Setup()
    await setup.ask(silence("model_version=a"))
    await setup.told(intent_of("a"), intent_of("b"))
    assert [name for name, *_ in setup.box.events] == ["b"]
    assert len(setup.mirror.taken) == 2  # who silences by himself gets everything
    later = Setup(table=setup.table, box=setup.box)  # the silence outlives the worker
    await later.flush(600)
    assert len(setup.box.taken) == 1
    wait_s = await later.flush(3_590)
    assert wait_s == 10
    await later.flush(3_600)
    assert setup.box.events[-1] == ("a", NotifyEvent.TRIGGER, True)


async def test_ending_a_silence_tells_at_once_what_it_muted() -> None:
    setup = Setup()
    await setup.ask(silence("model_version=a"))
    await setup.told(intent_of("a"))
    await setup.ask(command(ExpireCommand, "s-1", "c-9", at_us=NOW_US + 1_000_000))
    await setup.flush(1)
    assert [name for name, *_ in setup.box.events] == ["a"]


async def test_a_silenced_incident_that_was_told_of_is_told_to_be_over() -> None:
    setup = Setup()
    await setup.told(intent_of("a"))
    await setup.ask(silence("model_version=a"))
    await setup.told(intent_of("a", 2, loud=True), at_s=1)
    assert len(setup.box.taken) == 1
    await setup.told(intent_of("a", 3, RESOLVE), at_s=2)
    assert setup.box.events[-1] == ("a", RESOLVE, False)


async def test_a_silence_that_ends_over_a_storm_gives_few_messages() -> None:
    setup = Setup()
    await setup.ask(silence("model=m"))
    await setup.told(*series(500))
    assert setup.box.taken == []
    await setup.flush(3_600)
    await setup.flush(3_610)
    assert len(setup.box.taken) == 7


async def test_a_source_that_fires_in_the_same_moment_mutes_its_targets() -> None:
    down = Rule((Matcher.parse("rule=provider-down"),), (Matcher.parse("rule=error-rate"),))
    setup = Setup(inhibitions=(down,))
    await setup.told(intent_of("a"), intent_of("p", rule="provider-down", labels={}))
    assert [name for name, *_ in setup.box.events] == ["p"]
    later = Setup(table=setup.table, box=setup.box, inhibitions=(down,))
    await later.told(intent_of("p", 2, RESOLVE, rule="provider-down", labels={}), at_s=5)
    await later.flush(301)
    assert setup.box.events[-1] == ("a", NotifyEvent.TRIGGER, True)


async def test_an_acknowledgement_is_told_once_and_quiets_what_follows() -> None:
    setup = Setup()
    await setup.told(intent_of("a"))
    for id_ in ("c-1", "c-1", "c-2"):  # a repeat, and somebody else who clicks
        await setup.ask(command(AckCommand, "a", id_))
        await setup.flush(1)
    await setup.told(intent_of("a", 2, loud=True), at_s=2)
    await setup.told(intent_of("a", 3, RESOLVE), at_s=3)
    assert setup.box.events == [
        ("a", NotifyEvent.TRIGGER, True),
        ("a", ACK, False),
        ("a", NotifyEvent.UPDATE, False),
        ("a", RESOLVE, False),
    ]
    assert setup.box.taken[-1].acknowledged is not None
    assert setup.box.taken[-1].acknowledged.by == "alice"


async def test_acknowledging_a_group_acknowledges_each_of_its_incidents_as_a_command() -> None:
    setup = Setup(GroupingSettings(by=("model",), wait_s=1))
    await setup.told(intent_of("a"), intent_of("b"), at_s=0)
    await setup.flush(1)
    (page,) = setup.box.taken
    await setup.ask(command(AckCommand, page.incident_id))
    asked = setup.publisher.of(Topics.COMMANDS)
    assert [(one.subject, one.by) for one in asked] == [("a", "alice"), ("b", "alice")]
    assert len({one.command_id for one in asked}) == 2
    for one in asked:
        await setup.ask(one)
        await setup.flush()
    assert len(setup.box.taken) == 1  # told together, not one by one
    await setup.flush(2)
    assert setup.box.events[1:] == [(page.incident_id, ACK, False)]


async def test_decisions_reach_the_alert_in_order_and_each_once() -> None:
    heard: list[tuple[str, bool]] = []

    async def decide(command: DecideCommand) -> None:
        heard.append((command.command_id, command.approve))

    setup = Setup(decides=decide)
    for id_, approve in (("c-1", True), ("c-1", True), ("c-2", False)):
        await setup.ask(
            command(
                DecideCommand,
                "a:rollback",
                id_,
                incident_id="a",
                proposal="p",
                approve=approve,
            )
        )
    assert heard == [("c-1", True), ("c-2", False)]


async def test_what_cannot_be_read_or_used_is_counted_and_the_next_goes_on() -> None:
    setup = Setup()
    before = refused("llm.commands"), refused("llm.notifications")
    events = [FakeEvent(b"?"), FakeEvent(silence("feature=").to_json(), 1), FakeEvent(None, 2)]
    good = FakeEvent(silence("model_version=a").to_json(), 3)
    await setup.commands.run(FakeStream([*events, good]))
    intents = [FakeEvent(b"{"), FakeEvent(intent_of("a").to_json(), 1)]
    await setup.agent.run(FakeStream([*intents, FakeEvent(intent_of("b").to_json(), 2)]))
    await setup.flush()
    assert [event.acked for event in (*events, good, *intents)] == [1] * 6
    assert [name for name, *_ in setup.box.events] == ["b"]
    assert refused("llm.commands") - before[0] == 3
    assert refused("llm.notifications") - before[1] == 1


async def test_a_worker_that_does_not_own_the_table_tells_nothing() -> None:
    setup = Setup()
    setup.agent.take_in(intent_of("a"))
    await setup.agent.assigned(False)
    await setup.agent.flush_due()
    assert setup.box.taken == []


async def test_labels_that_carry_the_change_are_added_when_they_are_known() -> None:
    class Store:
        def __init__(self) -> None:
            self.away = True

        async def shares(self, intent: NotificationIntent) -> tuple[Share, ...]:
            if self.away:
                raise ConnectionError("no store")
            return (Share(label="model_version", value="v2", share=1.0, traffic=0.3, requests=9),)

    store = Store()
    setup = Setup(explains=store)
    await setup.told(intent_of("a"))
    await setup.explain()
    await setup.flush(1)
    assert len(setup.box.taken) == 1  # the page does not wait for it
    store.away = False
    await setup.told(intent_of("b"), at_s=2)
    await setup.explain()
    await setup.flush(3)
    assert setup.box.events[-1] == ("b", NotifyEvent.UPDATE, False)
    assert setup.box.taken[-1].shares[0].value == "v2"


async def test_groups_by_severity_follow_an_incident_that_grows_worse() -> None:
    down = Rule(
        (Matcher.parse("severity=critical"),), (Matcher.parse("severity=error"),), ("model",)
    )
    setup = Setup(inhibitions=(down,))
    await setup.told(intent_of("a"))
    await setup.told(intent_of("a", 2, severity=Severity.CRITICAL), at_s=1)
    await setup.told(intent_of("b"), at_s=2)
    assert [name for name, *_ in setup.box.events] == ["a", "a"]


async def test_a_group_that_begins_again_within_its_interval_is_the_same_message() -> None:
    setup = Setup(GroupingSettings(by=("model",), wait_s=1, interval_s=10))
    await setup.told(intent_of("a"))
    await setup.flush(1)
    await setup.told(intent_of("a", 2, RESOLVE), at_s=2)
    await setup.flush(11)
    await setup.told(intent_of("b"), at_s=12)
    await setup.flush(21)
    await setup.told(intent_of("b", 2, RESOLVE), at_s=22)
    await setup.flush(31)
    await setup.flush(41)
    assert [event for _, event, _ in setup.box.events] == [
        NotifyEvent.TRIGGER,
        RESOLVE,
        NotifyEvent.TRIGGER,
        RESOLVE,
    ]
    assert len({intent.dedup_key for intent in setup.box.taken}) == 1
    assert not [key for key in setup.table if key.startswith("group:")]
    await setup.told(intent_of("c"), at_s=42)
    await setup.flush(43)
    assert len({intent.dedup_key for intent in setup.box.taken}) == 2


async def test_the_alert_hears_of_an_acknowledgement_and_its_echo_is_not_told_again() -> None:
    heard: list[tuple[str, str, int, str]] = []

    async def hear(*said: Any) -> None:
        heard.append(said)

    setup = Setup(acknowledges=hear)
    await setup.told(intent_of("a"))
    await setup.ask(command(AckCommand, "a"))
    await setup.flush(1)
    assert heard == [("a", "alice", NOW_US, "on it")]
    echo = intent_of("a", 2, news=("acknowledged by alice: on it",))
    await setup.told(echo, at_s=2)
    assert [event for _, event, _ in setup.box.events] == [NotifyEvent.TRIGGER, ACK]
    await setup.told(intent_of("a", 3, RESOLVE), at_s=3)
    assert setup.box.taken[-1].news == ("news 3",)
    # Should the echo be there first, it is said once all the same.
    await setup.told(intent_of("b"), at_s=4)
    await setup.ask(command(AckCommand, "b", "c-2"))
    setup.agent.take_in(intent_of("b", 2, news=("acknowledged by alice: on it",)))
    await setup.flush(5)
    assert setup.box.taken[-1].news == ("acknowledged by alice: on it",)
    assert setup.box.taken[-1].event is ACK


async def test_other_inhibitions_can_be_put_in_force() -> None:
    setup = Setup()
    down = Rule((Matcher.parse("rule=provider-down"),), (Matcher.parse("rule=error-rate"),))
    await setup.told(intent_of("p", rule="provider-down", labels={}))
    setup.agent.adopt([down])
    await setup.told(intent_of("a"), at_s=1)
    assert [name for name, *_ in setup.box.events] == ["p"]


@pytest.mark.parametrize("left", range(8))
async def test_a_crash_on_the_way_into_a_storm_tells_an_incident_under_one_key(left: int) -> None:
    settings = GroupingSettings(storm_after=1)
    table = Stops(10_000)
    box = TableBox(table)
    first = Setup(settings, table=table, box=box)
    first.agent.take_in(intent_of("a"))
    table.left = left  # the gate, the message, the incident, its group: so much is kept
    await first.flush()
    table.left = 10_000
    after = Setup(settings, table=table, box=box)
    await after.told(intent_of("a"), at_s=1)
    await after.flush(20)
    assert len({intent.dedup_key for intent in box.taken}) == 1


async def test_an_end_is_told_though_a_crash_made_the_alert_count_anew() -> None:
    setup = Setup()
    await setup.told(intent_of("a"), intent_of("a", 2), intent_of("a", 3))
    await setup.told(intent_of("a", 2))  # decided again
    assert len(setup.box.taken) == 1
    await setup.told(intent_of("a", 2, RESOLVE), at_s=9)
    await setup.told(intent_of("a", 2, RESOLVE), at_s=10)
    assert [event for _, event, _ in setup.box.events] == [NotifyEvent.TRIGGER, RESOLVE]
    assert [one.event for one in setup.mirror.taken][-1] is RESOLVE
    assert not [key for key in setup.table if key.startswith(("member:", "group:"))]


async def test_an_acknowledgement_that_comes_again_reaches_an_alert_that_lost_it() -> None:
    heard = []

    async def hear(incident: str, by: str, at_us: int, reason: str) -> None:
        heard.append((incident, by, at_us, reason))

    setup = Setup(acknowledges=hear)
    await setup.told(intent_of("a"))
    for _ in range(2):
        await setup.ask(command(AckCommand, "a"))
        await setup.flush(1)
    assert heard == [("a", "alice", NOW_US, "on it")] * 2
    assert [event for _, event, _ in setup.box.events] == [NotifyEvent.TRIGGER, ACK]
