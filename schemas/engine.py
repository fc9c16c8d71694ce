"""What a vLLM engine says of itself, about once a second."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.base import Message, Micros, Name, SchemaVersion

__all__ = ["EngineSample"]

Ratio = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class EngineSample(Message):
    """One engine's scheduler at one moment; ratios are 0 to 1, None is unknown."""

    schema_version: SchemaVersion
    server: Name
    engine_index: Count
    at_us: Micros
    model: Name
    running_requests: Count
    waiting_requests: Count
    kv_cache_usage: Ratio | None = None
    prefix_cache_hit_rate: Ratio | None = None
    spec_decode_acceptance_rate: Ratio | None = None
    gpu_utilization: Ratio | None = None
