"""An API over a store and a broker that a test fills, fails and reads."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.testclient import TestClient

from alerting.notifiers.slack_buttons import buttons_of
from schemas.command import Command
from serving.flags.store import FlagStore
from serving.rollout.steer import Steering
from streams.errors import StoreUnavailableError
from tests.support.events import NOW_US
from tests.support.intents import intent_of
from tocsin.api.app import create_app
from tocsin.api.errors import AwayError
from tocsin.api.reading import Reading
from tocsin.api.rollout.view import Rollouts
from tocsin.api.signature import sign
from tocsin.api.slack import SlackClicks

SECRET = SecretStr("8f742231b10e8888abcd99yyyzzz85a5")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def at(after_s: float = 0) -> dt.datetime:
    return EPOCH + dt.timedelta(microseconds=NOW_US + after_s * 1e6)


def alert_row(incident: str = "i-1", phase: str = "firing", by: str = "") -> tuple[Any, ...]:
    labels = {"model": "m"}
    return (
        incident, "error-rate", labels, "error", phase, 0.3, 100, "bad", at(-60), at(), by, "",
    )  # fmt: skip


@dataclass
class World:
    """Store, broker and clock."""

    alerts: list[tuple[Any, ...]] = field(default_factory=list)
    silences: list[tuple[Any, ...]] = field(default_factory=list)
    expired: list[tuple[Any, ...]] = field(default_factory=list)
    store_away: bool = False
    broker_away: bool = False
    sent: list[Command] = field(default_factory=list)
    now_us: int = NOW_US
    flags: Path = Path("/nonexistent/flags.json")

    async def query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        if self.store_away:
            raise StoreUnavailableError("no store")
        if "FROM alerts" in sql:
            wanted = (parameters or {})["incident"]
            return [row for row in self.alerts if wanted in ("", row[0])]
        return self.expired if "'expire'" in sql else self.silences

    async def send(self, command: Command) -> None:
        if self.broker_away:
            raise AwayError("no broker")
        self.sent.append(command)

    def app(self, token: str = "", approvers: tuple[str, ...] = ()) -> Starlette:
        clicks = SlackClicks(SECRET, self, lambda: self.now_us, approvers)
        flags = FlagStore(self.flags)
        rollouts = Rollouts(Steering(flags), lambda: self.now_us)
        return create_app(
            Reading(self), self, clicks, rollouts, SecretStr(token), lambda: self.now_us
        )

    def client(self, token: str = "", approvers: tuple[str, ...] = ()) -> TestClient:
        return TestClient(self.app(token, approvers), base_url="http://127.0.0.1")


def click(
    button: str = "tocsin.ack",
    *,
    now_us: int = NOW_US,
    timestamp: str | None = None,
    user: str = "U1",
    secret: SecretStr = SECRET,
    **changes: Any,
) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of a click on a button of an incident's message."""
    (block,) = buttons_of(intent_of("i-1", **changes))
    action = next(one for one in block["elements"] if one["action_id"] == button)
    payload = {
        "type": "block_actions",
        "user": {"id": user, "username": "alice"},
        "actions": [{"type": "button", "action_id": button, "value": action["value"]}],
    }
    body = urlencode({"payload": orjson.dumps(payload).decode()}).encode()
    timestamp = str(now_us // 1_000_000) if timestamp is None else timestamp
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": sign(secret, timestamp, body),
    }
    return body, headers
