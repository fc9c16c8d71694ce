"""What a model server sends of its requests, and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from schemas.base import Name
from schemas.settings.section import Count, Seconds, Section

__all__ = ["EmitSettings"]


class EmitSettings(Section):
    """The emitter in a model server: what it may hold and how long it gathers."""

    linger_s: Seconds = 0.05
    batch_events: Count = 500
    batch_bytes: Count = 512 * 1024
    queue_events: Count = 50_000
    queue_bytes: Count = 64 * 1024 * 1024
    flush_timeout_s: Seconds = 5
    join_wait_s: Seconds = 0.25
    server: str = Field(
        default="", max_length=256, description="names this server; its host name when empty"
    )
    provider: Name = "vllm"
    model_version: str = Field(
        default="", max_length=256, description="the served model's name when empty"
    )
    capture_text: bool = False
    capture_chars: Annotated[int, Field(ge=0, le=32_768)] = 4_096
    prompt_hash: bool = False
    prompt_hash_key: SecretStr = SecretStr("")
    gpu: bool = Field(
        default=True, description="read the use of the engine's GPUs from NVML, where it is there"
    )
    gateway_token: SecretStr = Field(
        default=SecretStr(""),
        description="shared by a gateway and its servers: they join their views of a request",
    )
