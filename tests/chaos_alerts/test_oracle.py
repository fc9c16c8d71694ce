"""The same alerts through Debian's Alertmanager and through our groups give the same notifications.

Real seconds on their side, a number that grows on ours. Where we differ on purpose, the last tests
show both sides, and docs/alerting.md says why.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from alerting.grouping import Flush
from alerting.intent import NotificationIntent, NotifyEvent
from alerting.rules.scope import Matcher
from schemas.alert import Severity
from schemas.command import SilenceCommand
from schemas.settings import GroupingSettings
from streams import dispatch as dispatch_module
from streams.command import CommandAgent
from streams.dispatch import DispatchAgent
from streams.silences import Silences
from tests.chaos_alerts.alertmanager import Hook, alertmanager_binary, running
from tests.support.intents import intent_of
from tests.support.streams import Outbox
from tests.unit.alerting.test_inhibit import Rule
from tests.unit.streams.test_dispatch import Box, command

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(alertmanager_binary() is None, reason="no prometheus-alertmanager here"),
]

WAIT_S, INTERVAL_S, REPEAT_S, END_S = 1.0, 2.0, 5.0, 12.0
TOLERANCE_S = 0.8


@dataclass(frozen=True)
class Step:
    """At a time: an alert fires or resolves, or a silence is put on it."""

    at_s: float
    name: str
    what: str = "fire"
    severity: Severity = Severity.WARNING
    since_s: float | None = None
    for_s: float = 0.0


FIRE, RESOLVED, SILENCE = "fire", "resolve", "silence"

SCENARIOS: dict[str, list[Step]] = {
    "grouping": [Step(0, "a"), Step(0, "b"), Step(1.5, "c"), Step(1.6, "d")],
    "resolve": [
        Step(0, "a"),
        Step(0, "b"),
        Step(1.5, "a", RESOLVED),
        Step(3.5, "b", RESOLVED),
    ],
    "repeat": [Step(0, "a")],
    "no_repeat_after_the_end": [Step(0, "a"), Step(1.5, "a", RESOLVED)],
    "gone_before_it_was_told": [Step(0, "a"), Step(0.4, "a", RESOLVED)],
    "fired_long_ago": [Step(0.5, "a", since_s=-60)],
    "again_after_its_end": [Step(0, "a"), Step(1.5, "a", RESOLVED), Step(3.5, "a")],
    "silenced_from_the_start": [Step(0, "a", SILENCE, for_s=4.2), Step(0.1, "a"), Step(0.1, "b")],
    "silenced_while_it_fires": [
        Step(0, "a"),
        Step(0, "b"),
        Step(1.5, "a", SILENCE, for_s=60),
        Step(3.4, "c"),
    ],
    "inhibited": [
        Step(0, "w"),
        Step(0, "s", severity=Severity.CRITICAL),
        Step(1.5, "s", RESOLVED, severity=Severity.CRITICAL),
    ],
    "inhibited_later": [
        Step(0, "w"),
        Step(1.5, "s", severity=Severity.CRITICAL),
        Step(1.6, "v"),
    ],
}
DIFFERENT: dict[str, list[Step]] = {
    "resolved_while_silenced": [
        Step(0, "a"),
        Step(1.8, "a", SILENCE, for_s=60),
        Step(2.0, "a", RESOLVED),
    ],
    "began_and_ended_between_two_looks": [
        Step(0, "a"),
        Step(1.4, "b"),
        Step(2.2, "b", RESOLVED),
    ],
}
EVERY = {**SCENARIOS, **DIFFERENT}


@dataclass
class Told:
    """One notification: when, and which alerts fire and which resolved in it."""

    at_s: float
    firing: frozenset[str]
    resolved: frozenset[str]

    def same(self, other: Told) -> bool:
        """Tell whether it is the same but for the time it took."""
        return (
            self.firing == other.firing
            and self.resolved == other.resolved
            and abs(self.at_s - other.at_s) < TOLERANCE_S
        )


@dataclass
class Both:
    """The notifications of each scenario, by Alertmanager and by us."""

    theirs: dict[str, list[Told]] = field(default_factory=lambda: {name: [] for name in EVERY})
    ours: dict[str, list[Told]] = field(default_factory=lambda: {name: [] for name in EVERY})


def steps() -> list[tuple[Step, str]]:
    return sorted(
        ((step, name) for name, given in EVERY.items() for step in given),
        key=lambda pair: pair[0].at_s,
    )


def labels(step: Step, scenario: str) -> dict[str, str]:
    return {"scenario": scenario, "name": step.name}


def by_alertmanager(both: Both) -> None:
    with Hook() as hook:
        config = {
            "route": {
                "receiver": "hook",
                "group_by": ["alertname", "scenario"],
                "group_wait": f"{WAIT_S:g}s",
                "group_interval": f"{INTERVAL_S:g}s",
                "repeat_interval": f"{REPEAT_S:g}s",
            },
            "inhibit_rules": [
                {
                    "source_matchers": ['severity="critical"'],
                    "target_matchers": ['severity="warning"'],
                    "equal": ["scenario"],
                }
            ],
            "receivers": [
                {"name": "hook", "webhook_configs": [{"url": hook.url, "send_resolved": True}]}
            ],
        }
        with running(config) as one:
            zero = time.time() + 0.2

            def text(at_s: float) -> str:
                return dt.datetime.fromtimestamp(zero + at_s, dt.UTC).isoformat()

            fired: dict[tuple[str, str], float] = {}
            for step, scenario in steps():
                time.sleep(max(0.0, zero + step.at_s - time.time()))
                if step.what == SILENCE:
                    matchers = [
                        {"name": name, "value": value, "isRegex": False, "isEqual": True}
                        for name, value in labels(step, scenario).items()
                    ]
                    one.silence(
                        {
                            "matchers": matchers,
                            "startsAt": text(step.at_s),
                            "endsAt": text(step.at_s + step.for_s),
                            "createdBy": "a",
                            "comment": "c",
                        }
                    )
                    continue
                since = step.since_s if step.since_s is not None else step.at_s
                start = fired.setdefault((scenario, step.name), since)
                alert: dict[str, Any] = {
                    "labels": {
                        **labels(step, scenario),
                        "alertname": "error-rate",
                        "severity": step.severity.value,
                    },
                    "startsAt": text(start),
                }
                if step.what == RESOLVED:
                    alert["endsAt"] = text(step.at_s)
                    del fired[scenario, step.name]
                one.push([alert])
            time.sleep(max(0.0, zero + END_S - time.time()))
        for at, body in hook.taken:
            both.theirs[body["groupLabels"]["scenario"]].append(
                Told(at - zero, names(body, "firing"), names(body, "resolved"))
            )


def names(body: dict[str, Any], status: str) -> frozenset[str]:
    return frozenset(a["labels"]["name"] for a in body["alerts"] if a["status"] == status)


async def by_us(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    zero_us = 1_790_000_000_000_000
    now_us = zero_us
    table: dict[str, str] = {}
    silences = Silences(table)
    inhibit = Rule(
        (Matcher.parse("severity=critical"),), (Matcher.parse("severity=warning"),), ("scenario",)
    )
    settings = GroupingSettings(
        by=("rule", "scenario"),
        wait_s=WAIT_S,
        interval_s=INTERVAL_S,
        repeat_s=REPEAT_S,
        storm_after=0,
    )
    agent = DispatchAgent(settings, table, silences, [Box()], lambda: now_us, inhibitions=[inhibit])
    people = CommandAgent(agent, silences, Outbox())
    compose = dispatch_module.compose_group

    def watched(found: Flush, at_us: int) -> NotificationIntent:
        def of(is_open: bool) -> frozenset[str]:
            return frozenset(m.intent.labels["name"] for m in found.tell if m.open is is_open)

        scenario = found.tell[0].intent.labels["scenario"]
        both.ours[scenario].append(Told((at_us - zero_us) / 1e6, of(True), of(False)))
        return compose(found, at_us)

    monkeypatch.setattr(dispatch_module, "compose_group", watched)
    await agent.assigned(True)
    left = steps()
    episodes: dict[tuple[str, str], tuple[int, int, float]] = {}
    while now_us < zero_us + END_S * 1e6:
        while left and left[0][0].at_s <= (now_us - zero_us) / 1e6:
            step, scenario = left.pop(0)
            if step.what == SILENCE:
                matchers = tuple(f"{k}={v}" for k, v in labels(step, scenario).items())
                ends_us = now_us + round(step.for_s * 1e6)
                name = f"s-{scenario}"
                await people.on_command(
                    command(
                        SilenceCommand,
                        name,
                        name,
                        matchers=matchers,
                        starts_us=now_us,
                        ends_us=ends_us,
                        at_us=now_us,
                    )
                )
                continue
            key = scenario, step.name
            resolved = step.what == RESOLVED
            number, revision, since_s = episodes.get(key, (0, 0, 0.0))
            if not resolved:
                number, revision = number + 1, 0
                since_s = step.at_s if step.since_s is None else step.since_s
            episodes[key] = number, revision + 1, since_s
            agent.take_in(
                intent_of(
                    f"{scenario}-{step.name}-{number}",
                    revision + 1,
                    NotifyEvent.RESOLVE if resolved else NotifyEvent.TRIGGER,
                    labels=labels(step, scenario),
                    severity=step.severity,
                    firing_since_us=zero_us + round(since_s * 1e6),
                    at_us=now_us,
                )
            )
        await agent.flush_due()
        now_us += 50_000


@pytest.fixture(scope="module")
def both() -> Both:
    both = Both()
    by_alertmanager(both)
    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(by_us(both, patch))
    return both


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_both_tell_the_same(both: Both, scenario: str) -> None:
    theirs, ours = both.theirs[scenario], both.ours[scenario]
    assert len(theirs) == len(ours), f"theirs {theirs}\nours {ours}"
    assert all(a.same(b) for a, b in zip(theirs, ours, strict=True)), f"{theirs}\n{ours}"
    assert theirs or scenario == "gone_before_it_was_told"


def test_we_tell_the_end_of_what_was_told_though_it_is_silenced(both: Both) -> None:
    theirs, ours = (side["resolved_while_silenced"] for side in (both.theirs, both.ours))
    assert [told.resolved for told in theirs] == [frozenset()]
    assert [told.resolved for told in ours] == [frozenset(), {"a"}]


def test_we_do_not_tell_the_end_of_what_nobody_heard_of(both: Both) -> None:
    theirs, ours = (side["began_and_ended_between_two_looks"] for side in (both.theirs, both.ours))
    assert theirs[1].resolved == {"b"}
    assert all("b" not in told.resolved for told in ours)
