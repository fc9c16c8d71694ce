"""One request to a model, as the server that answered it saw it.

Field names shorten OpenTelemetry's GenAI terms; ``schemas.otel`` holds the mapping.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

import uuid_utils.compat as uuid_utils
from pydantic import Field, model_validator

from schemas.base import Duration, Message, Micros, Name, SchemaVersion, Tokens

__all__ = ["Operation", "RequestEvent", "Route", "new_event_id"]


class Operation(StrEnum):
    """What was asked (``gen_ai.operation.name``)."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"
    RESPONSES = "responses"
    MESSAGES = "messages"
    EMBEDDINGS = "embeddings"
    OTHER = "other"


class Route(StrEnum):
    """Why this model version was chosen."""

    STABLE = "stable"
    CANARY = "canary"
    FALLBACK = "fallback"


class RequestEvent(Message):
    """One request, ended: answered, rejected, failed or aborted.

    Times are UTC microseconds, durations seconds. ``None`` means unknown, never zero.

    Attributes:
        event_id: UUIDv7 made by the emitter, UUIDv5 of a span's ids; request ids can be reused by
            clients.
        request_id: ``X-Request-Id`` as sent by the client, or made for it.
        start_time_us, end_time_us: first byte in, last byte out (or the failure).
        server: host:port or pod that answered (``server.address``).
        model, model_version, lora_adapter: what answered; the version is what rollback changes.
        failed_attempts: `upstream:outcome` of those that a gateway asked in vain before, in order.
        stream: None where nobody could see what was asked for.
        status_code: HTTP status sent; 200 also for a stream that broke later. None where the source
            tells of no HTTP.
        error_type: None when it went well, else a short class such as ``engine_dead``.
        aborted: the client went away before the end.
        input_tokens: all prompt tokens, cached ones included.
        cached_input_tokens: the part of ``input_tokens`` read from a prefix cache.
        tokens_estimated: output tokens were counted by chunks, not told by the engine.
        ttft_s: start to first output byte of the answer's content.
        itl_mean_s, itl_max_s: gaps between output chunks.
        tpot_s: (end to end - ttft) / (output tokens - 1).
        queue_s, prefill_s, decode_s, preemptions: the engine's own figures.
        prompt_hash, prompt_redacted, output_redacted: only when capture is on.
    """

    schema_version: SchemaVersion
    event_id: UUID
    request_id: Name
    start_time_us: Micros
    end_time_us: Micros
    server: Name
    provider: Name
    model: Name
    model_version: Name
    lora_adapter: Name | None = None
    operation: Operation
    stream: bool | None = None
    route: Route = Route.STABLE
    failed_attempts: tuple[Name, ...] = Field(default=(), max_length=20)
    feature: Name | None = None
    user_id: Name | None = None
    plan: Name | None = None

    status_code: Annotated[int, Field(ge=100, le=599)] | None = None
    error_type: Name | None = None
    finish_reasons: tuple[Name, ...] = Field(default=(), max_length=128)
    aborted: bool = False

    input_tokens: Tokens | None = None
    cached_input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    tokens_estimated: bool = False

    ttft_s: Duration | None = None
    itl_mean_s: Duration | None = None
    itl_max_s: Duration | None = None
    tpot_s: Duration | None = None
    e2e_s: Duration
    queue_s: Duration | None = None
    prefill_s: Duration | None = None
    decode_s: Duration | None = None
    preemptions: Annotated[int, Field(ge=0, le=1_000_000)] | None = None

    prompt_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    prompt_redacted: Annotated[str, Field(max_length=32_768)] | None = None
    output_redacted: Annotated[str, Field(max_length=32_768)] | None = None

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.end_time_us < self.start_time_us:
            raise ValueError("end_time_us is before start_time_us")
        if (
            self.cached_input_tokens is not None
            and self.input_tokens is not None
            and self.cached_input_tokens > self.input_tokens
        ):
            raise ValueError("cached_input_tokens exceeds input_tokens, which includes them")
        return self

    @property
    def rejected(self) -> bool:
        """Tell whether the request itself was at fault (4xx), which is no server error."""
        status = self.status_code
        return status is not None and 400 <= status < 500 and not self.aborted

    @property
    def failed(self) -> bool:
        """Tell whether the service was at fault: 5xx, or an error after the stream began."""
        return self.error_type is not None and not self.rejected and not self.aborted


def new_event_id() -> UUID:
    """Return a new UUIDv7 (RFC 9562): sortable by time, unique without coordination."""
    return uuid_utils.uuid7()
