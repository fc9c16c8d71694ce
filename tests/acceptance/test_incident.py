"""One incident on the whole loop: it fires, pages, asks, is told no, outlives its worker, ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from schemas.action import ActionStatus
from schemas.codec import encode_batch
from schemas.topics import Topics
from tests.acceptance.running import (
    Running,
    eventually,
    kill_worker,
    new_events,
    pagerduty_at,
    producer,
    running_stack,
    slack_at,
    start_worker,
)
from tests.support.broker import read_all
from tocsin.receiver import Fault, Receiver

RULES = """
version: 1
rules:
  - name: error-rate
    signal: error_rate
    over: 20s
    by: [provider, model, model_version]
    condition: "> 10%"
    for: 0s
    keep_firing_for: 20s
    min_samples: 20
    severity: error
    summary: "{model} {model_version}: {value:.1%} of requests fail"
    runbook: docs/alerting.md#runbook-errors
    ladder:
      - name: look
        after: 0s
        notify: "Look at the provider."
      - name: rollback
        after: 20s
        act: rollback
        verify_within: 10m
        min_samples: 20
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("incident")
    rules = path / "rules.yaml"
    rules.write_text(RULES)
    settings = {
        "TOCSIN_ALERTING__RULES": str(rules),
        **slack_at(receiver),
        **pagerduty_at(receiver),
    }
    with running_stack(path / "data", **settings) as stack:
        yield stack


@dataclass
class Traffic:
    """What share of version v2's requests fails."""

    failing: float = 0.0


@asynccontextmanager
async def traffic(running: Running) -> AsyncIterator[Traffic]:
    state, stop, rng = Traffic(), asyncio.Event(), random.Random(5)

    async def send() -> None:
        async with producer(running.bootstrap) as sender:
            while not stop.is_set():
                bad = round(20 * state.failing)
                events = [
                    *new_events(bad, rng, model_version="v2", status_code=500, error_type="oom"),
                    *new_events(
                        20 - bad, rng, model_version="v2", status_code=200, error_type=None
                    ),
                    *new_events(20, rng, model_version="v1", status_code=200, error_type=None),
                ]
                await sender.send_and_wait(Topics.REQUESTS.name, encode_batch(events))
                await asyncio.sleep(0.2)

    task = asyncio.create_task(send())
    try:
        yield state
    finally:
        stop.set()
        await task


async def test_an_incident_from_its_first_error_to_its_end(
    running: Running, receiver: Receiver
) -> None:
    phases = "SELECT to_phase, count() FROM alerts FINAL GROUP BY to_phase"
    slack, pagerduty = receiver.board.messages, receiver.board.incidents
    # Slack is away at first: nobody else has to wait for it.
    receiver.board.faults.add(Fault(target="slack", status=503, times=100_000))
    async with traffic(running) as state:
        await asyncio.sleep(2)
        state.failing = 0.5
        await eventually(pagerduty.all)
        assert not slack.all()
        (incident,) = pagerduty.all()
        assert incident.status == "triggered"

        # Nothing can be rolled back here: there are no flags. That is told, not hidden.
        status = "SELECT status, reason FROM actions FINAL WHERE type = 'action_result'"
        await eventually(lambda: running.rows(status))
        assert running.rows(status)[0][0] == ActionStatus.FAILED
        failed = "SELECT count() FROM alerts FINAL WHERE reason LIKE '%rollback failed%'"
        await eventually(lambda: running.value(failed) == 1)

        # A receiver that is back gets one message, of how things stand now.
        receiver.board.faults.clear()
        await eventually(slack.all)
        # Killed before it has noted what Slack answered, a worker could not know its message again.
        await asyncio.sleep(1)

        # The incident outlives the worker: no second page, no second message, no second action.
        kill_worker(running.stack)
        await start_worker(running.stack)
        signals = running.metric("tocsin_messages_sent_total", topic=Topics.SIGNALS.name)
        await eventually(
            lambda: (
                running.metric("tocsin_messages_sent_total", topic=Topics.SIGNALS.name)
                > signals + 20
            )
        )
        assert "resolved" not in dict(running.rows(phases))

        state.failing = 0.0
        await eventually(lambda: "resolved" in dict(running.rows(phases)))
        await eventually(lambda: pagerduty.all()[0].status == "resolved")
        await eventually(lambda: "RESOLVED" in slack.all()[0].text, show=slack.all)

    (ended,) = pagerduty.all()
    assert ended.dedup_key == incident.dedup_key
    heads = [message for message in slack.all() if message.thread_ts is None]
    assert len(heads) == 1
    assert heads[0].edit_count >= 1
    assert running.value("SELECT uniqExact(incident_id) FROM alerts FINAL") == 1
    assert running.value("SELECT DISTINCT labels['model_version'] FROM alerts FINAL") == "v2"
    requested = "SELECT count() FROM actions FINAL WHERE type = 'action_requested'"
    assert running.value(requested) == 1


async def test_what_the_loop_said_is_in_the_store_as_it_is_in_kafka(running: Running) -> None:
    alerts = len(await read_all(running.bootstrap, Topics.ALERTS.name))
    actions = len(await read_all(running.bootstrap, Topics.ACTIONS.name))
    await eventually(lambda: running.value("SELECT count() FROM alerts FINAL") == alerts)
    await eventually(lambda: running.value("SELECT count() FROM actions FINAL") == actions)
    assert running.metric("tocsin_messages_refused_total") == 0
    assert running.metric("tocsin_rule_failures_total") == 0
    assert running.metric("tocsin_detector_failures_total") == 0
