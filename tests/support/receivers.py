"""The receivers' side of every notifier, over real HTTP: strict, and forgetful between tests."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import Any

import jsonschema
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

__all__ = ["HMAC_KEY", "HOOK", "KEY", "PAGERDUTY_EVENT", "TOKEN", "Front", "World"]

TOKEN = "xoxb-very-secret"
HOOK = "T000/B000/hook-very-secret"
HMAC_KEY = "hmac-very-secret"
KEY = "0123456789abcdef0123456789abcdef"

# Written from PagerDuty's published description of Events API v2 (OpenAPI, /v2/enqueue).
PAGERDUTY_EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["routing_key", "event_action", "dedup_key", "payload"],
    "additionalProperties": False,
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "minLength": 1, "maxLength": 255},
        "client": {"type": "string"},
        "client_url": {"type": "string", "pattern": "^https?://"},
        "links": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["href"],
                "additionalProperties": False,
                "properties": {
                    "href": {"type": "string", "pattern": "^https?://"},
                    "text": {"type": "string"},
                },
            },
        },
        "payload": {
            "type": "object",
            "required": ["summary", "severity", "source"],
            "additionalProperties": False,
            "properties": {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "source": {"type": "string", "minLength": 1},
                "timestamp": {
                    "type": "string",
                    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$",
                },
                "component": {"type": "string"},
                "group": {"type": "string"},
                "class": {"type": "string"},
                "custom_details": {"type": "object"},
            },
        },
    },
}


@dataclass
class World:
    """The receivers' side: what they got, what they show, and what they answer next."""

    url: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    faults: list[Response | None] = field(default_factory=list)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    incidents: dict[str, str] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    hooked: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def fault(self) -> Response | None:
        """Return the next wrong answer; one that is None is not given before the test is over."""
        if not self.faults:
            return None
        fault = self.faults.pop(0)
        if fault is None:
            await self.over.wait()
        return fault

    async def slack(self, request: Request) -> Response:
        method = request.path_params["method"]
        body = await request.json()
        self.calls.append((method, body))
        if (answer := await self.fault()) is not None:
            return answer
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"ok": False, "error": "invalid_auth"})
        if (problem := slack_problem(body)) is not None:
            return JSONResponse({"ok": False, "error": problem})
        if method == "chat.postMessage":
            ts = f"{1_700_000_000 + len(self.messages)}.000100"
            self.messages[ts] = body
            return JSONResponse({"ok": True, "channel": "C1", "ts": ts})
        if body["ts"] not in self.messages:
            return JSONResponse({"ok": False, "error": "message_not_found"})
        self.messages[body["ts"]] = body
        return JSONResponse({"ok": True, "channel": body["channel"], "ts": body["ts"]})

    async def pagerduty(self, request: Request) -> Response:
        raw = await request.body()
        assert len(raw) <= 512 * 1024
        body = json.loads(raw)
        self.calls.append((body.get("event_action"), body))
        if (answer := await self.fault()) is not None:
            return answer
        if body.get("routing_key") != KEY:
            return JSONResponse({"status": "invalid event", "errors": ["Invalid key"]}, 400)
        jsonschema.validate(body, PAGERDUTY_EVENT)
        key, action = body["dedup_key"], body["event_action"]
        if action == "trigger" and self.incidents.get(key) != "triggered":
            self.opened.append(key)
        states = {"trigger": "triggered", "acknowledge": "acknowledged", "resolve": "resolved"}
        if action == "trigger" or key in self.incidents:
            self.incidents[key] = states[action]
        return JSONResponse(
            {"status": "success", "message": "Event processed", "dedup_key": key}, 202
        )

    async def slack_webhook(self, request: Request) -> Response:
        body = await request.json()
        self.calls.append(("webhook", body))
        if (answer := await self.fault()) is not None:
            return answer
        if request.path_params["hook"] != HOOK:
            return PlainTextResponse("no_service", 404)
        if slack_problem(body) is not None:
            return PlainTextResponse("invalid_blocks", 400)
        self.posts.append(body)
        return PlainTextResponse("ok")

    async def webhook(self, request: Request) -> Response:
        raw = await request.body()
        body = json.loads(raw)
        self.calls.append((body["event"], body))
        if (answer := await self.fault()) is not None:
            return answer
        headers = request.headers
        signed = b"v1:" + headers["tocsin-timestamp"].encode() + b":" + raw
        expected = "v1=" + hmac.new(HMAC_KEY.encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(headers["tocsin-signature"], expected):
            return PlainTextResponse("wrong signature", 401)
        assert abs(int(headers["tocsin-timestamp"]) - time.time()) < 60
        self.hooked.setdefault(headers["idempotency-key"], []).append(body)
        return Response(status_code=204)

    async def alertmanager(self, request: Request) -> Response:
        assert request.headers["content-type"] == "application/json"
        body = await request.json()
        self.calls.append(("alerts", body))
        if (answer := await self.fault()) is not None:
            return answer
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return PlainTextResponse("unauthorized", 401)
        for alert in body:
            assert set(alert) <= {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
            assert all(alert["labels"].values())
            assert alert["startsAt"] < alert["endsAt"]
            self.alerts[json.dumps(alert["labels"], sort_keys=True)] = alert
        return Response(status_code=200)

    def shown(self) -> int:
        """Return how many incidents were begun, whichever receiver shows them."""
        begun = [one for one in self.posts if one.get("blocks") and "RESOLVED" not in one["text"]]
        keys = {body["dedup_key"] for bodies in self.hooked.values() for body in bodies}
        return len(self.roots()) + len(self.opened) + len(begun) + len(keys) + len(self.alerts)

    def roots(self) -> list[dict[str, Any]]:
        return [message for message in self.messages.values() if "thread_ts" not in message]

    def replies(self) -> list[dict[str, Any]]:
        return [message for message in self.messages.values() if "thread_ts" in message]


def slack_problem(body: dict[str, Any]) -> str | None:
    """Return Slack's error code for a message beyond its limits; None when it would be taken."""
    if not body.get("text"):
        return "no_text"
    if len(body["text"]) > 40_000:
        return "msg_too_long"
    blocks = body.get("blocks", [])
    if len(blocks) > 50:
        return "invalid_blocks"
    for block in blocks:
        kind = block["type"]
        if kind == "header" and not (
            block["text"]["type"] == "plain_text" and 0 < len(block["text"]["text"]) <= 150
        ):
            return "invalid_blocks"
        if kind == "section":
            texts = [block["text"]["text"]] if "text" in block else []
            fields = [item["text"] for item in block.get("fields", [])]
            if not texts and not fields:
                return "invalid_blocks"
            if any(not 0 < len(text) <= 3_000 for text in texts):
                return "invalid_blocks"
            if len(fields) > 10 or any(not 0 < len(text) <= 2_000 for text in fields):
                return "invalid_blocks"
        if kind == "actions":
            buttons = block["elements"]
            if not 0 < len(buttons) <= 25 or any(
                len(one["text"]["text"]) > 75 or len(one["value"]) > 2_000 for one in buttons
            ):
                return "invalid_blocks"
        if kind == "context" and not 0 < len(block["elements"]) <= 10:
            return "invalid_blocks"
    return None


class Front:
    """The server's routes; each test puts its own world behind them."""

    world: World

    async def slack(self, request: Request) -> Response:
        return await self.world.slack(request)

    async def pagerduty(self, request: Request) -> Response:
        return await self.world.pagerduty(request)

    async def slack_webhook(self, request: Request) -> Response:
        return await self.world.slack_webhook(request)

    async def webhook(self, request: Request) -> Response:
        return await self.world.webhook(request)

    async def alertmanager(self, request: Request) -> Response:
        return await self.world.alertmanager(request)

    @property
    def routes(self) -> list[Route]:
        """Return the routes of every receiver."""
        return [
            Route("/api/v2/alerts", self.alertmanager, methods=["POST"]),
            Route("/api/{method}", self.slack, methods=["POST"]),
            Route("/v2/enqueue", self.pagerduty, methods=["POST"]),
            Route("/services/{hook:path}", self.slack_webhook, methods=["POST"]),
            Route("/hook", self.webhook, methods=["POST"]),
        ]
