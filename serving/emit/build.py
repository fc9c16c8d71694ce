"""Make the event of an exchange that is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError

from schemas.event import RequestEvent, new_event_id
from serving.emit.answer import Answer
from serving.emit.engine_facts import EngineFacts
from serving.emit.exchange import Exchange
from serving.emit.prompt import TextPolicy
from serving.emit.request import Asked, clean_name

__all__ = ["Origin", "build_event", "take_usage"]

UNKNOWN_MODEL: Final = "unknown"
"""The model of a request whose body was never read (401) or held none."""

_DAY_S: Final = 86_400.0

_OPTIONAL: Final = tuple(
    name for name, field in RequestEvent.model_fields.items() if not field.is_required()
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Which server an event comes from."""

    server: str
    provider: str
    model_version: str = ""
    failed_attempts: tuple[str, ...] = ()
    """`upstream:outcome` of others that were asked before."""


def take_usage(state: Mapping[str, Any], answer: Answer) -> None:
    """Take the token usage that vLLM leaves in the request's state, asked for or not."""
    usage = getattr(state.get("request_metadata"), "final_usage_info", None)
    if usage is None:
        return
    for name, target in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")):
        value = getattr(usage, name, None)
        if type(value) is int and value >= 0:
            setattr(answer, target, value)
    details = getattr(usage, "prompt_tokens_details", None)
    cached = getattr(details, "cached_tokens", None)
    if type(cached) is int and cached >= 0:
        answer.cached_input_tokens = cached


def build_event(
    exchange: Exchange,
    engine: EngineFacts,
    origin: Origin,
    *,
    start_time_us: int,
    ended_at: float,
    lora: tuple[str, str] | None = None,
    text: TextPolicy | None = None,
    new_id: Callable[[], UUID] = new_event_id,
) -> RequestEvent:
    """Return the one event of `exchange`.

    Args:
        exchange: what the middleware saw.
        engine: what the engine said, or nothing.
        origin: which server.
        start_time_us: wall clock at the first byte, UTC microseconds.
        ended_at: monotonic seconds at the end.
        lora: (adapter, base model) when an adapter was asked for.
        text: what may be kept of prompt and answer; None keeps nothing.
        new_id: makes the event id.

    Raises:
        ValidationError: never for what a client or a server sent; see `_bounded`.
    """
    asked = exchange.asked or Asked()
    answer = exchange.answer
    e2e_s = min(max(0.0, ended_at - exchange.started_at), _DAY_S)
    output, estimated = _output_tokens(exchange, engine)
    adapter, base = lora or (None, None)
    served = clean_name(answer.model)
    model = clean_name(base) or asked.model or served or UNKNOWN_MODEL
    reasons = tuple(reason for _, reason in sorted(answer.finish_reasons.items()))
    fields: dict[str, Any] = {
        "schema_version": 1,
        "event_id": new_id(),
        "request_id": exchange.sender.request_id,
        "start_time_us": start_time_us,
        "end_time_us": start_time_us + round(e2e_s * 1e6),
        "server": origin.server,
        "provider": origin.provider,
        "model": model,
        "model_version": adapter or origin.model_version or served or model,
        "lora_adapter": adapter,
        "operation": exchange.operation,
        "stream": asked.stream or exchange.streaming,
        "route": exchange.sender.route,
        "failed_attempts": origin.failed_attempts,
        "feature": exchange.sender.feature or asked.feature,
        "user_id": exchange.sender.user_id or asked.user_id,
        "plan": exchange.sender.plan or asked.plan,
        "status_code": min(max(exchange.status_code, 100), 599),
        "error_type": exchange.error_type,
        "finish_reasons": (reasons or engine.finish_reasons)[:128],
        "aborted": exchange.aborted,
        "input_tokens": _first(answer.input_tokens, engine.input_tokens),
        "cached_input_tokens": _first(answer.cached_input_tokens, engine.cached_input_tokens),
        "output_tokens": output,
        "tokens_estimated": estimated,
        "e2e_s": e2e_s,
        "queue_s": engine.queue_s,
        "prefill_s": engine.prefill_s,
        "decode_s": engine.decode_s,
        "preemptions": engine.preemptions,
        **_pace(exchange, engine, e2e_s, output, len(answer.finish_reasons) or asked.choices),
    }
    if text is not None:
        fields |= text.fields(asked.prompt, "".join(answer.text), truncated=answer.truncated)
    return _bounded(fields)


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _output_tokens(exchange: Exchange, engine: EngineFacts) -> tuple[int | None, bool]:
    """Return the output tokens and whether they are only counted by pieces."""
    known = _first(exchange.answer.output_tokens, engine.output_tokens)
    if known is not None or not exchange.streaming:
        return known, False
    return exchange.answer.pieces, True


def _pace(
    exchange: Exchange, engine: EngineFacts, e2e_s: float, output: int | None, choices: int
) -> dict[str, float | None]:
    """Return the times of the pieces; of an answer in one piece only the engine knows the pace."""
    pace = exchange.pace
    ttft = None if pace.first_at is None else max(0.0, pace.first_at - exchange.started_at)
    tpot = engine.tpot_s if ttft is None else None
    well = exchange.error_type is None and not exchange.aborted
    if ttft is not None and well and output is not None and output > choices:
        tpot = max(0.0, e2e_s - ttft) / (output / choices - 1)
    return {
        "ttft_s": ttft,
        "itl_mean_s": pace.itl_mean_s,
        "itl_max_s": pace.itl_max_s,
        "tpot_s": tpot,
    }


def _bounded(fields: dict[str, Any]) -> RequestEvent:
    """Return the event; a value out of its range becomes unknown rather than cost the event."""
    cached, given = fields["cached_input_tokens"], fields["input_tokens"]
    if cached is not None and given is not None and cached > given:
        fields["cached_input_tokens"] = None
    try:
        return RequestEvent(**fields)
    except ValidationError as error:
        wrong = {str(item["loc"][0]) for item in error.errors() if item["loc"]} or set(_OPTIONAL)
    return RequestEvent(**{k: v for k, v in fields.items() if k not in wrong or k not in _OPTIONAL})
