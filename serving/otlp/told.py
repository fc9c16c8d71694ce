"""What one span tells of a request; None is what it does not tell."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.event import Operation

__all__ = ["Told"]


@dataclass(frozen=True, slots=True)
class Told:
    """A request as one source of spans tells of it; durations in seconds.

    Attributes:
        source: which kind of spans: `vllm`, `genai`, `openinference`.
        identity: what the event's id is made of: the same for every span of the same request.
        choices: sequences that the output tokens are of.
        part: names the sequence, where the span tells of one and not of the whole request.
    """

    source: str
    identity: str
    operation: Operation
    provider: str | None = None
    model: str | None = None
    model_version: str | None = None
    server: str | None = None
    stream: bool | None = None
    request_id: str | None = None
    user_id: str | None = None

    status_code: int | None = None
    error_type: str | None = None
    aborted: bool = False
    finish_reasons: tuple[str, ...] = ()

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None
    choices: int = 1
    part: str | None = None

    ttft_s: float | None = None
    e2e_s: float | None = None
    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
