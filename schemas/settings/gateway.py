"""The gateway."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from schemas.settings.section import Count, Port, PositiveSeconds, Section

__all__ = ["GatewaySettings"]


class GatewaySettings(Section):
    """The gateway: its file, where it listens, and what a request may take."""

    config: Path = Field(
        default=Path("gateway.yaml"), description="upstreams, models, keys and limits"
    )
    host: str = "127.0.0.1"
    port: Port = 8800
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = Field(
        default=9470, description="of the first worker; each further one takes the next port"
    )
    workers: int = Field(
        default=1, ge=1, le=256, description="processes that share the address and the rate limits"
    )
    concurrency: Count = Field(default=1_000, description="requests at once; more are turned away")
    body_bytes: Count = 16 * 1024 * 1024
    answer_bytes: Count = Field(
        default=64 * 1024 * 1024, description="longer answers are cut off, which the client is told"
    )
    header_timeout_s: PositiveSeconds = Field(
        default=10, description="how long a client may take for the head of a request"
    )
    body_timeout_s: PositiveSeconds = 30
    send_timeout_s: PositiveSeconds = Field(
        default=30, description="how long a client may take nothing of its answer"
    )
    connect_timeout_s: PositiveSeconds = 2
    first_token_timeout_s: PositiveSeconds = Field(
        default=30, description="of a stream; then the next upstream is asked"
    )
    answer_timeout_s: PositiveSeconds = Field(
        default=120, description="of an answer in one piece; then the next upstream is asked"
    )
    idle_timeout_s: PositiveSeconds = Field(
        default=30, description="between two pieces of an upstream's answer"
    )
    total_timeout_s: PositiveSeconds = Field(
        default=600, description="of a request, all upstreams together"
    )
    upstream_keepalive_s: PositiveSeconds = Field(
        default=4, description="shorter than the upstreams' own (vLLM: 5), or requests meet a close"
    )
    flags_poll_s: PositiveSeconds = 0.25
