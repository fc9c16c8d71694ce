"""A stand-in for a judge model, for demos: it measures repetition and emptiness, not quality.

It speaks the protocol of a real judge (chat completions with a JSON schema for the answer), so that
the judging pipeline is the real one; the score is a plain formula that its explanation spells out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.fleet.wire import error_body, usage_of

__all__ = ["JUDGE_MODEL", "Assessment", "assess", "make_judge"]

JUDGE_MODEL: Final = "repetition-heuristic"
_WORD: Final = re.compile(r"[^\W_]+")
_RUN: Final = 50
"""Words in which repetition is looked for: natural prose repeats more the longer it is."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """A score from 0 (worst) to 1 (best), and how it came about."""

    score: float
    explanation: str


def assess(answer: str) -> Assessment:
    """Score an answer by the share of distinct words in runs of 50 words.

    Prose has about 0.7 and up: that is full marks. A phrase over and over goes to 0.
    """
    words = [word.lower() for word in _WORD.findall(answer)]
    if not words:
        return Assessment(0.0, "Stand-in judge (no model): the answer is empty.")
    runs = [words[i : i + _RUN] for i in range(0, len(words), _RUN)]
    whole = [run for run in runs if len(run) == _RUN] or runs[:1]
    distinct = sum(len(set(run)) / len(run) for run in whole) / len(whole)
    # The shorter the run, the higher the share by chance: three words are never repetitive.
    floor = min(1.0, 2 / len(whole[0]))
    score = 1.0 if floor >= 0.5 else min(1.0, max(0.0, (distinct - floor) / (0.65 - floor)))
    return Assessment(
        round(score, 4),
        f"Stand-in judge (no model): {distinct:.0%} of the words are distinct in runs of "
        f"{len(whole[0])}.",
    )


def make_judge() -> Starlette:
    """Return the judge as an OpenAI-compatible application."""
    return Starlette(
        routes=[
            Route("/v1/chat/completions", _judge, methods=["POST"]),
            Route("/v1/models", _models),
            Route("/health", _health),
        ]
    )


async def _health(_: Request) -> Response:
    return Response()


async def _models(_: Request) -> Response:
    model = {"id": JUDGE_MODEL, "object": "model", "owned_by": "tocsin"}
    return _json(orjson.dumps({"object": "list", "data": [model]}))


async def _judge(request: Request) -> Response:
    try:
        body = orjson.loads(await request.body())
        text = str(body["messages"][-1]["content"])
        schema = body["response_format"]["json_schema"]["schema"]
        verdict = _fill(schema, assess(_answer_in(text)))
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError) as error:
        wanted = f"this judge needs messages and a json_schema response_format ({error!r})"
        return _json(error_body(wanted, "BadRequestError", 400), 400)
    content = orjson.dumps(verdict).decode()
    message = {"role": "assistant", "content": content}
    return _json(
        orjson.dumps(
            {
                "id": f"chatcmpl-{uuid4().hex}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": JUDGE_MODEL,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": usage_of(len(text) // 4 + 1, len(content) // 4 + 1, 0),
            }
        )
    )


def _answer_in(text: str) -> str:
    """Return the answer to judge: a JSON object's member `answer`, or all of the text."""
    try:
        material = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if isinstance(material, dict) and isinstance(answer := material.get("answer"), str):
        return answer
    return text


def _fill(schema: Mapping[str, Any], assessment: Assessment) -> dict[str, Any]:
    """Return an object of the schema: numbers take the score in their range, strings the words."""
    filled: dict[str, Any] = {}
    for name, kind in schema["properties"].items():
        if kind.get("type") in ("integer", "number"):
            low, high = kind.get("minimum", 0), kind.get("maximum", 1)
            score = low + assessment.score * (high - low)
            filled[name] = round(score) if kind["type"] == "integer" else score
        elif kind.get("type") == "boolean":
            filled[name] = assessment.score >= 0.5
        elif kind.get("type") == "string":
            filled[name] = assessment.explanation
        else:
            raise ValueError(f"property {name}: cannot be filled")
    return filled


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")
