"""People steer an incident on the whole loop: silence it, take it on, over a worker that dies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from schemas.settings import ApiSettings
from tests.acceptance.running import (
    Running,
    eventually,
    kill_worker,
    pagerduty_at,
    running_stack,
    slack_at,
    start_worker,
)
from tests.acceptance.test_incident import RULES, traffic
from tocsin.api.client import ApiClient
from tocsin.receiver import Receiver

pytestmark = pytest.mark.acceptance

API_TOKEN = "acceptance-token"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("people")
    rules = path / "rules.yaml"
    rules.write_text(RULES)
    settings = {
        "TOCSIN_ALERTING__RULES": str(rules),
        "TOCSIN_API__TOKEN": API_TOKEN,
        **slack_at(receiver),
        **pagerduty_at(receiver),
    }
    with running_stack(path / "data", api_port=0, **settings) as stack:
        yield stack


@pytest.fixture
def api(running: Running) -> Iterator[ApiClient]:
    settings = ApiSettings(url=running.stack.api_url, token=SecretStr(API_TOKEN))
    with ApiClient(settings) as client:
        yield client


async def test_a_silence_and_an_acknowledgement_outlive_the_worker(
    running: Running, receiver: Receiver, api: ApiClient
) -> None:
    def alerts() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = api.get("/v1/alerts")["alerts"]
        return found

    who = {"author": "alice", "reason": "load test"}
    pagerduty, slack = receiver.board.incidents, receiver.board.messages
    silence = {"matchers": ["rule=error-rate"], "duration": "1h", **who}
    silence_id = api.post("/v1/silences", silence)["silence_id"]
    await eventually(lambda: api.get("/v1/silences")["silences"])
    kill_worker(running.stack)
    await start_worker(running.stack)
    async with traffic(running) as state:
        state.failing = 0.5
        await eventually(alerts)
        assert alerts()[0]["silenced"] == silence_id
        # Remediation goes on: the rollback is asked for while nobody is told.
        asked = "SELECT count() FROM actions FINAL WHERE type = 'action_requested'"
        await eventually(lambda: running.value(asked) == 1)
        assert pagerduty.all() == []
        assert slack.all() == []

        api.post(f"/v1/silences/{silence_id}/expire", who)
        await eventually(pagerduty.all)
        await eventually(slack.all)
        # The page says which version carries the change, a moment later.
        await eventually(
            lambda: "model_version=v2: 100% of the change" in str(slack.all()[0].blocks)
        )
        incident = alerts()[0]["incident_id"]
        api.post("/v1/acks", {"incident_id": incident, **who})
        await eventually(lambda: pagerduty.all()[0].status == "acknowledged")
        await eventually(lambda: alerts()[0]["acknowledged"])
        assert alerts()[0]["acknowledged"] == {"by": "alice", "reason": "load test"}

        kill_worker(running.stack)
        await start_worker(running.stack)
        state.failing = 0.0
        await eventually(lambda: pagerduty.all()[0].status == "resolved")
        await eventually(lambda: not alerts())
    assert len(pagerduty.all()) == 1
    assert len([message for message in slack.all() if message.thread_ts is None]) == 1
    rows = running.rows("SELECT type, by, via, reason FROM commands FINAL ORDER BY at")
    assert rows == [
        ("silence", "alice", "api", "load test"),
        ("expire", "alice", "api", "load test"),
        ("ack", "alice", "api", "load test"),
    ]
