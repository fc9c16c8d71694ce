from __future__ import annotations

from typing import Any

import httpx
import pytest

from tocsin.receiver import Receiver

KEY = "0123456789abcdef0123456789abcdef"


def trigger(dedup_key: str, **payload: Any) -> dict[str, Any]:
    return {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "payload": {"summary": "on fire", "severity": "critical", "source": "gpu-1"} | payload,
    }


def change(action: str, dedup_key: str) -> dict[str, Any]:
    return {"routing_key": KEY, "event_action": action, "dedup_key": dedup_key}


async def enqueue(http: httpx.AsyncClient, event: object) -> httpx.Response:
    return await http.post("/pagerduty/v2/enqueue", json=event)


async def incidents(http: httpx.AsyncClient, dedup_key: str) -> list[dict[str, Any]]:
    found = (await http.get("/api/incidents")).json()["incidents"]
    return [one for one in found if one["dedup_key"] == dedup_key]


async def test_one_dedup_key_is_one_incident_until_it_is_resolved(http: httpx.AsyncClient) -> None:
    first = await enqueue(http, trigger("k1"))
    assert first.status_code == 202
    assert first.json() == {"status": "success", "message": "Event processed", "dedup_key": "k1"}
    await enqueue(http, trigger("k1", summary="still on fire", severity="warning"))
    (open_,) = await incidents(http, "k1")
    assert (open_["status"], open_["events"], open_["severity"]) == ("triggered", 2, "warning")
    assert open_["summary"] == "on fire"
    await enqueue(http, change("resolve", "k1"))
    await enqueue(http, trigger("k1"))
    old, new = await incidents(http, "k1")
    assert (old["status"], new["status"]) == ("resolved", "triggered")
    assert new["number"] > old["number"]


async def test_an_acknowledged_incident_stays_quiet(http: httpx.AsyncClient) -> None:
    await enqueue(http, trigger("k2"))
    await enqueue(http, change("acknowledge", "k2"))
    await enqueue(http, trigger("k2"))
    (incident,) = await incidents(http, "k2")
    assert incident["status"] == "acknowledged"
    assert [entry["action"] for entry in incident["log"]] == ["trigger", "acknowledge", "trigger"]


async def test_what_is_not_open_is_accepted_and_changes_nothing(http: httpx.AsyncClient) -> None:
    for action in ("acknowledge", "resolve"):
        assert (await enqueue(http, change(action, "never-seen"))).status_code == 202
    assert await incidents(http, "never-seen") == []


async def test_a_trigger_without_a_key_gets_one(http: httpx.AsyncClient) -> None:
    event = trigger("")
    del event["dedup_key"]
    answers = [(await enqueue(http, event)).json()["dedup_key"] for _ in range(2)]
    assert len(set(answers)) == 2
    assert len(await incidents(http, answers[0])) == 1


@pytest.mark.parametrize(
    ("broken", "part"),
    [
        ({"routing_key": None}, "'routing_key' is missing"),
        ({"routing_key": "short"}, "should be 32 characters"),
        ({"routing_key": "!" * 32}, "non-alphanumeric"),
        ({"event_action": None}, "'event_action' is missing"),
        ({"event_action": "explode"}, "'event_action' is invalid"),
        ({"event_action": "resolve", "dedup_key": None}, "'dedup_key' is missing"),
        ({"dedup_key": "x" * 256}, "'dedup_key' is too long"),
        ({"dedup_key": 7}, "'dedup_key' must be a string"),
        ({"payload": None}, "'payload' is missing"),
        ({"payload": {"severity": "critical", "source": "s"}}, "'payload.summary' is missing"),
        ({"payload": {"summary": " ", "severity": "info", "source": "s"}}, "'payload.summary'"),
        ({"payload": {"summary": "s" * 1_025, "severity": "info", "source": "s"}}, "too long"),
        ({"payload": {"summary": "s", "severity": "page", "source": "s"}}, "'payload.severity'"),
        ({"payload": {"summary": "s", "severity": "info"}}, "'payload.source' is missing"),
        (
            {"payload": {"summary": "s", "severity": "info", "source": "s", "timestamp": "soon"}},
            "ISO 8601",
        ),
        (
            {"payload": {"summary": "s", "severity": "info", "source": "s", "custom_details": 1}},
            "custom_details",
        ),
        ({"links": [{"href": "javascript:alert(1)"}]}, "'links[0].href'"),
        ({"images": [{"src": "http://insecure.invalid/x.png"}]}, "'images[0].src'"),
    ],
)
async def test_what_pagerduty_refuses(
    http: httpx.AsyncClient, broken: dict[str, Any], part: str
) -> None:
    event = {key: value for key, value in (trigger("k3") | broken).items() if value is not None}
    answer = await enqueue(http, event)
    assert answer.status_code == 400
    assert answer.json()["status"] == "invalid event"
    assert any(part in error for error in answer.json()["errors"])
    assert await incidents(http, "k3") == []


async def test_no_json_and_too_much_of_it(http: httpx.AsyncClient) -> None:
    garbage = await http.post("/pagerduty/v2/enqueue", content=b"{")
    assert (garbage.status_code, garbage.json()["errors"]) == (400, ["JSON parse error"])
    large = await enqueue(http, trigger("k4", custom_details={"text": "x" * 512 * 1024}))
    assert large.status_code == 413


async def test_a_key_that_is_not_the_services() -> None:
    with Receiver(pagerduty_routing_key="a" * 32) as receiver:
        async with httpx.AsyncClient(base_url=receiver.url, trust_env=False) as http:
            wrong = await enqueue(http, trigger("k5"))
            right = await enqueue(http, trigger("k5") | {"routing_key": "a" * 32})
    assert (wrong.status_code, wrong.json()["errors"]) == (400, ["Invalid routing key"])
    assert right.status_code == 202


async def test_429_says_when_to_come_back(http: httpx.AsyncClient, receiver: Receiver) -> None:
    fault = {"target": "pagerduty", "status": 429, "retry_after_s": 3}
    await http.post("/api/faults", json=fault, headers={"X-Tocsin-Token": receiver.token})
    refused, taken = [await enqueue(http, trigger("k6")) for _ in range(2)]
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3")
    assert taken.status_code == 202
    assert (await incidents(http, "k6"))[0]["events"] == 1
