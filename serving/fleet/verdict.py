"""What a simulated user thinks of an answer."""

from __future__ import annotations

import time
from typing import Final

import orjson

from schemas.base import SCHEMA_VERSION
from schemas.event import new_event_id
from schemas.feedback import FeedbackEvent, Thumb
from serving.fleet.judge import assess
from serving.fleet.users import Visit

__all__ = ["answer_text", "thumb_for"]

_GRUMPY: Final = 0.08
"""The share of users whom no answer pleases."""


def thumb_for(visit: Visit, answer: bytes, *, ok: bool, at_us: int | None = None) -> FeedbackEvent:
    """Return the user's thumb: down for errors, for text going round in circles, on bad days.

    Args:
        visit: whose answer it is.
        answer: what came over the wire.
        ok: whether it came to its end.
        at_us: UTC microseconds; now by default.
    """
    pleased = ok and (visit.thumb or 0) >= _GRUMPY and assess(answer_text(answer)).score >= 0.5
    return FeedbackEvent(
        schema_version=SCHEMA_VERSION,
        feedback_id=new_event_id(),
        request_id=visit.request_id,
        at_us=time.time_ns() // 1_000 if at_us is None else at_us,
        user_id=visit.user,
        thumb=Thumb.UP if pleased else Thumb.DOWN,
    )


def answer_text(answer: bytes) -> str:
    """Return the text in a chat answer, whole or streamed; what cannot be read is left out."""
    if not answer.startswith(b"data:"):
        return _content(answer, "message")
    pieces = [line[6:] for line in answer.split(b"\n") if line.startswith(b"data: {")]
    return "".join(_content(piece, "delta") for piece in pieces)


def _content(data: bytes, member: str) -> str:
    try:
        choices = orjson.loads(data).get("choices") or [{}]
        return str(choices[0].get(member, {}).get("content") or "")
    except (orjson.JSONDecodeError, AttributeError, LookupError, TypeError):
        return ""
