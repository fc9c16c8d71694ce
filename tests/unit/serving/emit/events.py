"""Events for the tests of the emitter."""

from __future__ import annotations

from typing import Any

from schemas.engine import EngineSample
from schemas.event import Operation, RequestEvent, new_event_id

__all__ = ["make_event", "make_sample"]


def make_event(number: int = 0, **fields: Any) -> RequestEvent:
    values: dict[str, Any] = {
        "schema_version": 1,
        "event_id": new_event_id(),
        "request_id": f"r-{number}",
        "start_time_us": 1_790_000_000_000_000 + number,
        "end_time_us": 1_790_000_001_000_000 + number,
        "server": "s-1",
        "provider": "vllm",
        "model": "tiny",
        "model_version": "v1",
        "operation": Operation.CHAT,
        "stream": False,
        "status_code": 200,
        "e2e_s": 1.0,
    }
    return RequestEvent(**(values | fields))


def make_sample(**fields: Any) -> EngineSample:
    values: dict[str, Any] = {
        "schema_version": 1,
        "server": "s-1",
        "engine_index": 0,
        "at_us": 1_790_000_000_000_000,
        "model": "tiny",
        "running_requests": 1,
        "waiting_requests": 0,
    }
    return EngineSample(**(values | fields))
