"""Events for tests: valid ones, with what a test cares about given by name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from schemas.base import SCHEMA_VERSION
from schemas.event import RequestEvent

__all__ = ["NOW_US", "event", "numbered_id"]

NOW_US = 1_790_000_000_000_000


def numbered_id(number: int) -> UUID:
    """Return a UUIDv7 that is the same for the same number."""
    return UUID(int=(0x0192_0000_0000_7000_8000_0000_0000_0000 + number))


def event(**fields: Any) -> RequestEvent:
    """Return an answered, streamed chat request that ended a second ago."""
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "event_id": numbered_id(0),
        "request_id": "request-0",
        "start_time_us": NOW_US - 3_000_000,
        "end_time_us": NOW_US - 1_000_000,
        "server": "gpu-1:8000",
        "provider": "vllm",
        "model": "llama-3.1-70b",
        "model_version": "v1",
        "operation": "chat",
        "stream": True,
        "feature": "chat",
        "user_id": "user-1",
        "plan": "pro",
        "status_code": 200,
        "finish_reasons": ("stop",),
        "input_tokens": 100,
        "output_tokens": 21,
        "ttft_s": 0.25,
        "itl_mean_s": 0.05,
        "itl_max_s": 0.1,
        "tpot_s": 0.05,
        "e2e_s": 1.25,
    }
    return RequestEvent(**{**values, **fields})
