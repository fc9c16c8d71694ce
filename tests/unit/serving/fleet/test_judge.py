"""The stand-in judge: its plain formula, and its protocol."""

from __future__ import annotations

from random import Random
from typing import Any

import httpx
import pytest

from serving.fleet.judge import assess, make_judge
from serving.fleet.text import degenerate, prose


@pytest.mark.parametrize("tokens", [10, 30, 60, 400])
def test_prose_scores_high_and_loops_score_low(tokens: int) -> None:
    for seed in range(50):
        assert assess("".join(prose(Random(seed), tokens))).score > 0.75
        assert assess("".join(degenerate(Random(seed), tokens))).score < 0.1


def test_nothing_scores_nothing() -> None:
    assert assess(" \n ").score == 0
    assert "empty" in assess("").explanation
    assert assess("Yes, exactly.").score == 1


async def ask(body: Any) -> httpx.Response:
    transport = httpx.ASGITransport(make_judge())
    async with httpx.AsyncClient(transport=transport, base_url="http://judge") as client:
        return await client.post("/v1/chat/completions", json=body)


def body_of(properties: dict[str, Any], answer: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {
        "messages": [{"role": "user", "content": answer}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
    }


async def test_it_fills_the_schema_that_it_is_given() -> None:
    properties = {
        "grade": {"type": "integer", "minimum": 1, "maximum": 10},
        "share": {"type": "number"},
        "fine": {"type": "boolean"},
        "why": {"type": "string"},
    }
    response = await ask(body_of(properties, "la " * 40))
    content = response.json()["choices"][0]["message"]["content"]
    assert content.startswith('{"grade":1,"share":0.0,"fine":false,"why":"Stand-in judge')


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [{"role": "user", "content": "x"}]},
        body_of({"parts": {"type": "array"}}, "x"),
    ],
)
async def test_what_it_cannot_fill_it_refuses(body: dict[str, Any]) -> None:
    response = await ask(body)
    assert response.status_code == 400
    assert "json_schema" in response.json()["error"]["message"]
