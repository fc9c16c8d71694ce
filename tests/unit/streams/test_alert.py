"""Decisions survive crashes, restarts and faults, and tell what they did once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping, Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY

from alerting.policy import Policy
from alerting.rules import parse_rules
from schemas.action import ActionKind, ActionRequested, ActionResult, ActionStatus
from schemas.alert import AlertPhase
from schemas.base import SCHEMA_VERSION, Message
from schemas.command import CommandVia, SilenceCommand
from schemas.signal import Signal, SignalName
from schemas.topics import Topic, Topics
from streams import retry
from streams.alert import AlertAgent
from streams.silences import Silences
from tests.support.crashing import Changelog
from tests.support.streams import Log, Outbox
from tests.unit.streams.fakes import FakeStream

START = 1_790_000_000_000_000
RULES = """
version: 1
rules:
  - name: errors
    signal: error_rate
    over: 1m
    by: [provider, model, model_version]
    condition: "> 1%"
    keep_firing_for: 30s
    min_samples: 10
    severity: error
    summary: "{model} {model_version}: {value:.1%} of requests fail"
    runbook: docs/alerting.md#runbook-errors
    ladder:
      - name: rollback
        after: 1m
        when: "> 5%"
        act: rollback
        verify_within: 5m
  - name: slow
    signal: ttft_p95
    over: 1m
    by: [model, model_version]
    condition: "> 1"
    severity: warning
    summary: "{model} {model_version} is slow"
    runbook: docs/alerting.md#runbook-latency
"""
LABELS = {"provider": "vllm", "model": "m", "model_version": "v2"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_S", 0.0)
    monkeypatch.setattr(retry, "_LONGEST_S", 0.0)


def agent(
    table: MutableMapping[str, str], outbox: Outbox, silences: Silences | None = None
) -> AlertAgent:
    rules = parse_rules(RULES, "rules.yaml")
    return AlertAgent(rules, Policy(), table, outbox, max_lag_s=60, silences=silences)


def signal(at_s: float, value: float | None, samples: int = 100, **fields: Any) -> Signal:
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "signal": SignalName.ERROR_RATE,
        "labels": LABELS,
        "over_s": 60,
        "window_end_us": START + round(at_s * 1e6),
        "value": value,
        "samples": samples,
        "detector": "test",
    }
    return Signal(**{**values, **fields})


def end(at_s: float, lag_s: float = 0) -> Signal:
    return signal(at_s, lag_s, 1, signal=SignalName.WATERMARK_LAG, labels={}, over_s=0)


def result(request: ActionRequested, at_s: float, status: ActionStatus) -> ActionResult:
    return ActionResult(
        schema_version=SCHEMA_VERSION,
        action_id=request.action_id,
        kind=request.kind,
        fingerprint=request.fingerprint,
        incident_id=request.incident_id,
        status=status,
        actuator="rollback",
        reason="v2 -> v1",
        executor="test",
        at_us=START + round(at_s * 1e6),
    )


def phases(outbox: Outbox, rule: str = "errors") -> list[AlertPhase]:
    return [t.to_phase for t in outbox.of(Topics.ALERTS) if t.rule == rule]


def requests(outbox: Outbox) -> list[ActionRequested]:
    return [m for m in outbox.of(Topics.ACTIONS) if isinstance(m, ActionRequested)]


async def test_an_alert_fires_pages_and_asks_for_its_action_after_the_dwell() -> None:
    outbox, table = Outbox(), dict[str, str]()
    alerts = agent(table, outbox)
    for at_s in range(0, 90, 10):
        await alerts.on_signal(signal(at_s, 0.2))
    assert phases(outbox)[:2] == [AlertPhase.FIRING, AlertPhase.ESCALATED]
    (request,) = requests(outbox)
    assert request.kind is ActionKind.ROLLBACK
    assert request.requested_at_us >= START + 60_000_000
    assert len({intent.dedup_key for intent in outbox.of(Topics.NOTIFICATIONS)}) == 1


@pytest.mark.parametrize("mutes_actions", [False, True])
async def test_a_silence_leaves_remediation_alone_unless_it_says_otherwise(
    mutes_actions: bool,
) -> None:
    outbox, table = Outbox(), dict[str, str]()
    silences = Silences({})
    silences.add(
        SilenceCommand(
            schema_version=SCHEMA_VERSION,
            command_id="c",
            by="alice",
            via=CommandVia.API,
            reason="migration",
            at_us=START,
            subject="s",
            matchers=("model_version=v2",),
            starts_us=START,
            ends_us=START + 3_600_000_000,
            mutes_actions=mutes_actions,
        )
    )
    alerts = agent(table, outbox, silences)
    for at_s in range(0, 90, 10):
        await alerts.on_signal(signal(at_s, 0.2))
    assert len(requests(outbox)) == (0 if mutes_actions else 1)
    barred = "refused by policy: silenced by alice, actions too: migration"
    assert any(barred in t.reason for t in outbox.of(Topics.ALERTS)) is mutes_actions


async def test_a_restart_goes_on_where_it_stood_and_repeats_no_page() -> None:
    outbox, table = Outbox(), dict[str, str]()
    await agent(table, outbox).on_signal(signal(0, 0.2))
    told = len(outbox.sent)
    restarted = agent(table, outbox)
    await restarted.on_signal(signal(10, 0.2))
    assert len(outbox.sent) == told
    await restarted.on_signal(signal(61, 0.2))
    assert len(requests(outbox)) == 1


async def test_a_crash_between_sending_and_storing_sends_the_same_ids_again() -> None:
    outbox, table = Outbox(), dict[str, str]()
    for at_s in (0, 61):
        before = dict(table)
        await agent(table, outbox).on_signal(signal(at_s, 0.2))
        again = Outbox()
        await agent(before, again).on_signal(signal(at_s, 0.2))
        assert again.sent == outbox.sent[-len(again.sent) :]


async def test_a_broker_that_is_away_delays_a_decision_and_loses_none() -> None:
    outbox, table = Outbox(failures=3), dict[str, str]()
    await agent(table, outbox).on_signal(signal(0, 0.2))
    assert phases(outbox) == [AlertPhase.FIRING]
    assert len(outbox.of(Topics.NOTIFICATIONS)) == 1


async def test_rules_hold_while_the_watermark_lags() -> None:
    outbox, table = Outbox(), dict[str, str]()
    alerts = agent(table, outbox)
    await alerts.on_signal(end(0, lag_s=120))
    await alerts.on_signal(signal(10, 0.5))
    assert phases(outbox) == []
    await alerts.on_signal(end(10, lag_s=1))
    await alerts.on_signal(signal(20, 0.5))
    assert phases(outbox) == [AlertPhase.FIRING]


async def test_a_series_that_falls_silent_is_unknown_not_well() -> None:
    outbox, table = Outbox(), dict[str, str]()
    alerts = agent(table, outbox)
    await alerts.on_signal(signal(0, 0.2))
    for at_s in range(10, 600, 10):
        await alerts.on_signal(end(at_s))
    assert AlertPhase.RESOLVED not in phases(outbox)
    assert requests(outbox) == []


async def test_an_applied_rollback_relieves_the_other_alerts_of_that_version() -> None:
    outbox, table = Outbox(), dict[str, str]()
    alerts = agent(table, outbox)
    slow = {"signal": SignalName.TTFT_P95, "labels": {"model": "m", "model_version": "v2"}}
    for at_s in range(0, 70, 10):
        await alerts.on_signal(signal(at_s, 0.2))
        await alerts.on_signal(signal(at_s, 3.0, **slow))
        await alerts.on_signal(end(at_s))
    (request,) = requests(outbox)
    await alerts.on_result(result(request, 62, ActionStatus.APPLIED))
    for at_s in range(70, 400, 10):
        await alerts.on_signal(end(at_s))
    assert phases(outbox)[-1] is AlertPhase.RESOLVED
    assert phases(outbox, "slow")[-1] is AlertPhase.RESOLVED


async def test_a_refused_action_is_told_and_leaves_the_alert_open() -> None:
    outbox, table = Outbox(), dict[str, str]()
    alerts = agent(table, outbox)
    for at_s in (0, 61):
        await alerts.on_signal(signal(at_s, 0.2))
    (request,) = requests(outbox)
    await alerts.on_result(result(request, 62, ActionStatus.REFUSED))
    assert "refused" in outbox.of(Topics.ALERTS)[-1].reason
    assert AlertPhase.RESOLVED not in phases(outbox)


async def test_one_rules_fault_keeps_no_other_from_deciding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outbox, table = Outbox(), dict[str, str]()
    alerts = agent(table, outbox)
    step = alerts._step

    def faulty(rule: Any, *args: Any) -> None:
        if rule.name == "errors":
            raise ZeroDivisionError
        step(rule, *args)

    monkeypatch.setattr(alerts, "_step", faulty)
    slow = {"signal": SignalName.TTFT_P95, "labels": {"model": "m", "model_version": "v2"}}
    await alerts.on_signal(signal(0, 0.2))
    await alerts.on_signal(signal(0, 3.0, **slow))
    assert phases(outbox, "slow") == [AlertPhase.FIRING]


async def test_what_cannot_be_read_is_acknowledged_and_the_next_is_decided() -> None:
    outbox, table = Outbox(), dict[str, str]()
    log = Log(Topics.SIGNALS.name)
    events: list[Any] = [log.append(b"?"), log.chunk(b"?", signal(0, 0.2).to_json(), None)]
    await agent(table, outbox).run(FakeStream(events))
    assert [event.acked for event in events] == [1, 1]
    assert phases(outbox) == [AlertPhase.FIRING]


async def test_signals_that_wait_together_are_said_together_and_kept_once_they_are_out() -> None:
    outbox, table = Outbox(failures=2), dict[str, str]()
    kept_when_sent: list[int] = []

    class Watching(Outbox):
        async def send_many(self, topic: Topic, items: Sequence[tuple[str, Message]]) -> list[int]:
            kept_when_sent.append(len(table))
            return await outbox.send_many(topic, items)

    series = [signal(0, 0.2, labels={**LABELS, "model_version": f"v{n}"}) for n in range(50)]
    alerts = agent(table, Watching())
    await alerts.on_signals([*series, end(0)])
    assert len(outbox.of(Topics.NOTIFICATIONS)) == 50
    assert kept_when_sent == [0] * 4  # two topics, and twice in vain
    assert len(table) == 51
    await alerts.on_signals([signal(10 * n, 0.2) for n in range(1, 8)])  # of one series, in order
    assert len(requests(outbox)) == 1


async def killed_while_it_keeps(
    signals: Sequence[Signal],
) -> AsyncIterator[tuple[Changelog, Outbox]]:
    """Yield what a worker that decides on signals together leaves, killed after each write."""
    kept, writes = 0, 1
    while kept <= writes:
        table, outbox = Changelog(), Outbox()
        await agent(table, outbox).on_signals(signals)
        writes = len(table.late)
        table.crash(kept)
        yield table, outbox
        kept += 1


async def test_a_kill_among_the_rows_of_two_evaluations_begins_no_incident_anew() -> None:
    """People were told of those that had begun; under another name nobody would ever end them."""
    slow = {"signal": SignalName.TTFT_P95, "labels": {"model": "m", "model_version": "v2"}}
    together = [signal(0, 0.0), end(0), signal(10, 0.2), signal(10, 3.0, **slow), end(10)]
    after = [signal(20, 0.2), signal(20, 3.0, **slow), end(20)]
    async for table, outbox in killed_while_it_keeps(together):
        await agent(table, outbox).on_signals([*together, *after])
        assert len({intent.incident_id for intent in outbox.of(Topics.NOTIFICATIONS)}) == 2


async def test_a_kill_among_the_rows_of_two_actions_forgets_no_cooldown() -> None:
    series = [("m", "v2"), ("m", "v3"), ("n", "v2")]
    together = [
        signal(at_s, 0.2, labels={**LABELS, "model": model, "model_version": version})
        for at_s in (0, 61)
        for model, version in series
    ]
    async for table, outbox in killed_while_it_keeps(together):
        await agent(table, outbox).on_signals(together)
        asked = {request.action_id: request.labels["model"] for request in requests(outbox)}
        assert sorted(asked.values()) == ["m", "n"]


async def test_what_could_not_be_sent_is_decided_again() -> None:
    outbox, table = Outbox(), dict[str, str]()

    class Stopping(Outbox):
        async def send_many(self, topic: Topic, items: Sequence[tuple[str, Message]]) -> list[int]:
            raise asyncio.CancelledError

    alerts = agent(table, Stopping())
    with pytest.raises(asyncio.CancelledError):
        await alerts.on_signals([signal(0, 0.2), end(0)])
    assert table == {}
    table["x"] = "another worker's"
    assert await alerts.acknowledge("unknown-1", "ann", START) is False
    assert table == {"x": "another worker's"}
    del table["x"]
    await agent(table, outbox).on_signals([signal(0, 0.2), end(0)])
    assert phases(outbox) == [AlertPhase.FIRING]


ABSENT = """
version: 1
rules:
  - name: silent
    kind: absence
    signal: request_count
    over: 1m
    by: [model]
    scope: ["model=llama"]
    severity: critical
    summary: "no requests for {model}"
    runbook: docs/alerting.md#runbook-traffic
"""


async def test_a_series_that_nobody_ever_heard_of_can_be_missed() -> None:
    outbox, table = Outbox(), dict[str, str]()
    rules = parse_rules(ABSENT, "rules.yaml")
    alerts = AlertAgent(rules, Policy(), table, outbox, max_lag_s=60)
    for at_s in range(0, 60, 10):
        await alerts.on_signal(end(at_s))
    assert phases(outbox, "silent") == []
    await alerts.on_signal(end(60))
    assert phases(outbox, "silent") == [AlertPhase.FIRING]
    count = {"signal": SignalName.REQUEST_COUNT, "labels": {"model": "llama"}}
    await alerts.on_signal(signal(70, 12.0, 12, **count))
    await alerts.on_signal(end(70))
    assert phases(outbox, "silent") == [AlertPhase.FIRING, AlertPhase.RESOLVED]


async def test_other_rules_are_in_force_from_the_end_of_an_evaluation() -> None:
    outbox, table = Outbox(), dict[str, str]()
    alerts = agent(table, outbox)
    await alerts.on_signal(signal(0, 0.2))
    await alerts.on_signal(end(0))
    alerts.adopt(parse_rules(RULES.replace("name: errors", "name: failures"), "rules.yaml"))
    await alerts.on_signal(signal(10, 0.2))
    assert phases(outbox, "failures") == []
    await alerts.on_signal(end(10))
    assert phases(outbox)[-1] is AlertPhase.RESOLVED
    assert "no longer in force" in outbox.of(Topics.ALERTS)[-1].reason
    await alerts.on_signal(signal(20, 0.2))
    assert phases(outbox, "failures") == [AlertPhase.FIRING]


async def test_a_worker_that_starts_with_other_rules_ends_the_alerts_of_those_that_are_gone() -> (
    None
):
    outbox, table = Outbox(), dict[str, str]()
    first = parse_rules(RULES, "rules.yaml")
    alerts = AlertAgent(first, Policy(), table, outbox, max_lag_s=60, text=lambda: RULES)
    await alerts.on_signal(signal(0, 0.2))
    changed = RULES.replace("name: errors", "name: failures")
    rules = parse_rules(changed, "rules.yaml")
    for _ in range(2):
        alerts = AlertAgent(rules, Policy(), table, outbox, max_lag_s=60, text=lambda: changed)
        await alerts.on_signal(signal(10, 0.0))
    assert phases(outbox) == [AlertPhase.FIRING, AlertPhase.RESOLVED]
    assert outbox.of(Topics.NOTIFICATIONS)[-1].event == "resolve"


async def test_an_acknowledgement_reaches_the_open_incident_and_no_other() -> None:
    outbox, table = Outbox(), dict[str, str]()
    alerts = agent(table, outbox)
    await alerts.on_signal(signal(0, 0.2))
    incident_id = outbox.of(Topics.NOTIFICATIONS)[0].incident_id
    assert not await alerts.acknowledge("another", "ann", START + 1)
    assert await alerts.acknowledge(incident_id, "ann", START + 1)
    assert phases(outbox)[-1] is AlertPhase.ACKNOWLEDGED
    told = len(outbox.sent)
    assert await agent(table, outbox).acknowledge(incident_id, "bob", START + 2)
    assert len(outbox.sent) == told


async def test_a_signal_of_an_evaluation_that_ended_begins_nothing_also_after_a_restart() -> None:
    outbox, table = Outbox(), dict[str, str]()
    alerts = agent(table, outbox)
    await alerts.on_signal(signal(100, 0.0))
    await alerts.on_signal(end(100))
    repeated = "tocsin_signals_repeated_total"
    before = REGISTRY.get_sample_value(repeated) or 0.0
    for worker in (alerts, agent(table, outbox)):
        await worker.on_signal(signal(90, 0.5))
        await worker.on_signal(end(90, lag_s=120))
    assert outbox.sent == []
    assert REGISTRY.get_sample_value(repeated) == before + 4
    await agent(table, outbox).on_signal(signal(110, 0.5))
    assert phases(outbox) == [AlertPhase.FIRING]


async def test_a_worker_that_starts_knows_that_the_watermark_lags() -> None:
    outbox, table = Outbox(), dict[str, str]()
    await agent(table, outbox).on_signal(end(0, lag_s=120))
    await agent(table, outbox).on_signal(signal(10, 0.5))
    assert outbox.sent == []


async def test_an_answer_that_a_crash_brought_before_its_request_is_heard_after_it() -> None:
    outbox, table = Outbox(), dict[str, str]()
    alerts = agent(table, outbox)
    for at_s in range(0, 60, 10):
        await alerts.on_signal(signal(at_s, 0.2))
    kept = dict(table)  # what a kill leaves once the request is out
    await alerts.on_signal(signal(60, 0.2))
    (request,) = requests(outbox)
    after = Outbox()
    successor = agent(kept, after)
    for _ in range(2):
        await successor.on_result(result(request, 61, ActionStatus.APPLIED))
    assert phases(after) == []
    await successor.on_signal(signal(60, 0.2))
    assert requests(after) == [request]
    assert phases(after)[-1] is AlertPhase.VERIFYING
    assert not [key for key in kept if key.startswith(("early:", "request:"))]
    await successor.on_result(result(request, 61, ActionStatus.APPLIED))  # it is known by now
    assert not [key for key in kept if key.startswith("early:")]


@pytest.mark.parametrize("acknowledged", [True, False])
async def test_no_two_kills_keep_an_answer_from_its_neighbours_or_tell_it_twice(
    acknowledged: bool,
) -> None:
    """The first falls among the rows of a request, the second among those of its answer."""
    slow = {"signal": SignalName.TTFT_P95, "labels": {"model": "m", "model_version": "v2"}}

    def evaluation(at_s: int) -> list[Signal]:
        return [signal(at_s, 0.2), signal(at_s, 3.0, **slow), end(at_s)]

    async def lives(first: int | None, second: int | None) -> tuple[Changelog, Outbox, list[int]]:
        table, outbox, writes = Changelog(), Outbox(), list[int]()

        def killed(worker: AlertAgent, kept: int | None) -> AlertAgent:
            writes.append(len(table.late))
            if kept is None:
                return worker
            table.crash(kept)
            return agent(table, outbox)

        worker = agent(table, outbox)
        for at_s in range(0, 60, 10):
            await worker.on_signals(evaluation(at_s))
        table.commit()
        await worker.on_signals(evaluation(60))
        worker = killed(worker, first)
        answer = result(requests(outbox)[0], 61, ActionStatus.APPLIED)
        await worker.on_result(answer)
        if acknowledged:  # nobody says it again
            table.commit()
        await worker.on_signals(evaluation(60))
        worker = killed(worker, second)
        if not acknowledged:
            await worker.on_result(answer)
        await worker.on_signals(evaluation(60))
        for at_s in range(70, 400, 10):
            await worker.on_signals([end(at_s)])
        return table, outbox, writes

    def told(outbox: Outbox) -> set[tuple[str, int, tuple[str, ...]]]:
        intents = outbox.of(Topics.NOTIFICATIONS)
        return {(intent.incident_id, intent.revision, intent.news) for intent in intents}

    _, undisturbed, (last, _) = await lives(None, None)
    for first in range(last + 1):
        _, _, (_, writes) = await lives(first, None)
        for second in range(writes + 1):
            table, outbox, _ = await lives(first, second)
            assert phases(outbox)[-1] is AlertPhase.RESOLVED
            assert phases(outbox, "slow")[-1] is AlertPhase.RESOLVED
            assert len({request.action_id for request in requests(outbox)}) == 1
            assert told(outbox) == told(undisturbed)
            assert not [key for key in table if key.startswith(("early:", "request:"))]


async def test_answers_that_nobody_asked_for_are_forgotten_after_a_day() -> None:
    table = dict[str, str]()
    alerts = agent(table, Outbox())
    for number, at_s in ((1, 0), (2, 90_000)):
        asked = result(_unknown_request(number), at_s, ActionStatus.REFUSED)
        await alerts.on_result(asked)
    assert [key for key in table if key.startswith("early:")] == ["early:i-2:rollback"]


def _unknown_request(number: int) -> ActionRequested:
    return ActionRequested(
        schema_version=SCHEMA_VERSION,
        action_id=f"i-{number}:rollback",
        kind=ActionKind.ROLLBACK,
        fingerprint=f"f-{number}",
        incident_id=f"i-{number}",
        rule="errors",
        step="rollback",
        labels=LABELS,
        reason="test",
        verify_within_s=60,
        requested_at_us=START,
    )
