"""An action waits for a click on the whole loop, over a worker that dies, and is taken once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import pytest
from pydantic import SecretStr

from schemas.flag import FlagKey
from schemas.settings import ApiSettings
from serving.flags.store import FlagStore
from tests.acceptance.running import (
    Running,
    eventually,
    kill_worker,
    running_stack,
    slack_at,
    start_worker,
)
from tests.acceptance.test_incident import RULES, traffic
from tests.support.actions import promoted_flags
from tocsin.api.client import ApiClient, ApiRefusedError
from tocsin.api.signature import sign
from tocsin.receiver import Receiver

pytestmark = pytest.mark.acceptance

API_TOKEN = "acceptance-token"
WHO = {"author": "bob", "reason": "late"}
SIGNING = SecretStr("acceptance-signing-secret")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("approval")
    rules = path / "rules.yaml"
    rules.write_text(RULES.replace("act: rollback", "act: rollback\n        approval: required"))
    promoted_flags(path / "data" / "flags.json", at_us=time.time_ns() // 1_000 - 60_000_000)
    settings = {
        "TOCSIN_ALERTING__RULES": str(rules),
        "TOCSIN_API__TOKEN": API_TOKEN,
        "TOCSIN_API__SLACK_SIGNING_SECRET": SIGNING.get_secret_value(),
        **slack_at(receiver),
        "TOCSIN_NOTIFY__SLACK_BUTTONS": "true",
    }
    with running_stack(path / "data", api_port=0, **settings) as stack:
        yield stack


def button(receiver: Receiver, action_id: str) -> str:
    """Return what a button under the incident's message carries; empty when there is none."""
    for message in receiver.board.messages.all():
        for block in message.blocks:
            for element in block.get("elements", ()):
                if element.get("action_id") == action_id:
                    return str(element["value"])
    return ""


def click(running: Running, action_id: str, value: str, user: str) -> int:
    payload = {
        "type": "block_actions",
        "user": {"id": user, "username": "ann"},
        "actions": [{"type": "button", "action_id": action_id, "value": value}],
    }
    body = urlencode({"payload": orjson.dumps(payload).decode()}).encode()
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": sign(SIGNING, timestamp, body),
    }
    url = f"{running.stack.api_url}/slack/interactive"
    return httpx.post(url, content=body, headers=headers, trust_env=False).status_code


async def test_a_click_lets_exactly_one_action_out(running: Running, receiver: Receiver) -> None:
    flags = FlagStore(running.stack.settings.flags.path)

    def version() -> Any:
        return flags.read().flag(FlagKey.MODEL_VERSION).value

    def replies() -> str:
        return str([message.text for message in receiver.board.messages.all()])

    rows = "SELECT count() FROM actions FINAL WHERE type = 'action_decided' AND status = "
    api = ApiSettings(url=running.stack.api_url, token=SecretStr(API_TOKEN))
    with ApiClient(api) as client:
        async with traffic(running) as state:
            state.failing = 0.5
            await eventually(lambda: button(receiver, "tocsin.approve"))
            value = button(receiver, "tocsin.approve")
            assert "ai.model.version: v2 -&gt; v1" in str(receiver.board.messages.all()[0].blocks)
            await eventually(lambda: client.get("/v1/approvals")["approvals"])
            (waits,) = client.get("/v1/approvals")["approvals"]
            assert (waits["does"], version()) == ("ai.model.version: v2 -> v1", "v2")
            kill_worker(running.stack)
            assert click(running, "tocsin.approve", value, "U1") == 200
            await start_worker(running.stack)
            await eventually(lambda: version() == "v1")
            await eventually(lambda: not button(receiver, "tocsin.approve"))

            assert click(running, "tocsin.reject", value, "U2") == 200
            await eventually(lambda: running.value(rows + "'ignored'") == 1)
            await eventually(lambda: "rejection by ann (U2) did nothing" in replies())
            body = {name: waits[name] for name in ("incident_id", "action_id", "proposal")}
            with pytest.raises(ApiRefusedError, match=r"409.*is approved by ann"):
                client.post(
                    "/v1/decisions", {**body, "approve": True, "author": "b", "reason": "x"}
                )
            state.failing = 0.0
        assert client.get("/v1/approvals")["approvals"] == []
    assert running.value(rows + "'approved'") == 1
    history = flags.read().flag(FlagKey.MODEL_VERSION).history
    assert [change.variant for change in history] == ["v1", "v2", "v1"]
    audit = running.rows(
        "SELECT type, status, by FROM actions FINAL WHERE action_id = {id:String}"
        " AND type IN ('action_proposed', 'action_decided', 'action_result') ORDER BY kafka_offset",
        id=waits["action_id"],
    )
    assert audit == [
        ("action_proposed", "", ""),
        ("action_decided", "approved", "ann (U1)"),
        ("action_result", "applied", ""),
        ("action_decided", "ignored", "ann (U2)"),
    ]
