from __future__ import annotations

from typing import Any

import httpx
import pytest

from schemas.signal import SignalName
from tocsin.receiver import Point, Receiver, ReceiverClient, Step, StepName
from tocsin.receiver.errors import PushRefusedError

NOW = 1_795_000_000_000_000


@pytest.mark.parametrize("path", ["/api/timeline", "/api/metrics", "/api/faults"])
@pytest.mark.parametrize("headers", [{}, {"X-Tocsin-Token": "guess"}])
async def test_nothing_changes_without_the_token(
    http: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    assert (await http.post(path, json={}, headers=headers)).status_code == 401
    assert (await http.delete("/api/faults", headers=headers)).status_code == 401


async def test_a_host_name_rebound_to_this_machine_reads_nothing(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/messages", headers={"Host": "evil.example"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "part"),
    [
        ("/api/timeline", {"step": "x"}, "at_us"),
        ("/api/timeline", {"step": "x", "at_us": 1, "colour": "red"}, "colour"),
        ("/api/metrics", {"points": [{"signal": "mood", "series": "a", "at_us": 1}]}, "signal"),
        ("/api/faults", {"target": "slack", "status": 200}, "status"),
        ("/api/faults", {"target": "email"}, "target"),
    ],
)
async def test_a_wrong_push_names_the_field(
    http: httpx.AsyncClient, receiver: Receiver, path: str, body: dict[str, Any], part: str
) -> None:
    answer = await http.post(path, json=body, headers={"X-Tocsin-Token": receiver.token})
    assert answer.status_code == 422
    assert part in answer.json()["error"]


async def test_not_a_number_is_refused(http: httpx.AsyncClient, receiver: Receiver) -> None:
    body = '{"points": [{"signal": "error_rate", "series": "a", "at_us": 1, "value": NaN}]}'
    headers = {"X-Tocsin-Token": receiver.token}
    assert (await http.post("/api/metrics", content=body, headers=headers)).status_code == 422


async def test_steps_and_points_of_the_client_are_read_back(
    http: httpx.AsyncClient, receiver: Receiver
) -> None:
    async with ReceiverClient(receiver.url, receiver.token) as client:
        await client.step(Step(step=StepName.PAGED, at_us=NOW, detail="critical"))
        await client.points(
            [Point(signal=SignalName.ERROR_RATE, series="v2", at_us=NOW, value=None)]
        )
        assert await client.messages() == []
        assert await client.incidents() == []
    timeline = (await http.get("/api/timeline")).json()
    assert timeline["steps"][0]["detail"] == "critical"
    assert [entry["step"] for entry in timeline["catalogue"]] == [name.value for name in StepName]
    metrics = (await http.get("/api/metrics")).json()
    assert metrics["points"][0]["value"] is None
    assert [chart["signal"] for chart in metrics["catalogue"]] == [
        "error_rate",
        "e2e_p95",
        "ttft_p95",
        "cost_rate",
        "request_rate",
    ]


async def test_the_client_says_who_refused_and_why(receiver: Receiver) -> None:
    async with ReceiverClient(receiver.url, "wrong") as client:
        with pytest.raises(PushRefusedError, match="401"):
            await client.step(Step(step="x", at_us=NOW))
    async with ReceiverClient("http://127.0.0.1:9", "x") as client:
        with pytest.raises(PushRefusedError, match=r"127\.0\.0\.1:9"):
            await client.messages()


async def test_the_page_may_run_and_fetch_only_its_own(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    for path in ("style.css", "main.js", "charts.js", "bell.svg"):
        assert (await http.get(f"/page/{path}")).status_code == 200
    assert (await http.get("/page/../errors.py")).status_code == 404
