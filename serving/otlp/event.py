"""The one event of a request that a span tells of."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from schemas.codec import MIN_TIME_US
from schemas.dead_letter import DeadLetterReason
from schemas.event import RequestEvent, Route
from schemas.settings import OtlpAttributes
from serving.emit.prompt import TextPolicy
from serving.errors import SpanRefusedError
from serving.otlp.span import Span, name_in
from serving.otlp.texts import output_in, prompt_in
from serving.otlp.told import Told

__all__ = ["UNKNOWN", "EventMaker", "event_id_of"]

UNKNOWN: Final = "unknown"
"""A name that neither the span nor its resource tells; as for requests whose body was not read."""

_NAMESPACE: Final = uuid.UUID("5f0c6a1e-3d3b-5a44-9d3c-2b8a7e41c0d6")
_HEX: Final = frozenset("0123456789abcdef")


def event_id_of(told: Told) -> uuid.UUID:
    """Return the event's id, which is the same whenever and however often its span comes."""
    return uuid.uuid5(_NAMESPACE, f"{told.source}/{told.identity}")


@dataclass(frozen=True, slots=True)
class EventMaker:
    """Makes events.

    Attributes:
        names: which attributes are which fields.
        text: what may be kept of prompts and answers.
        future_us: how much later than now a span may end, for clocks that differ.
    """

    names: OtlpAttributes
    text: TextPolicy
    future_us: int

    def event(self, span: Span, told: Told, now_us: int) -> RequestEvent:
        """Return the event.

        Raises:
            SpanRefusedError: ids or times are missing or cannot be.
        """
        _check_ids(span)
        start_us, end_us = self._times(span, now_us)
        e2e_s = told.e2e_s if told.e2e_s is not None else (end_us - start_us) / 1e6
        known = self._named(span)
        model = known["model"] or told.model or UNKNOWN
        cached, given = told.cached_input_tokens, told.input_tokens
        if cached is not None and given is not None and cached > given:
            cached = None  # counted beside, not within: which of the two is wrong is unknown
        fields: dict[str, Any] = {
            "schema_version": 1,
            "event_id": event_id_of(told),
            "request_id": told.request_id or f"{span.trace_id}/{span.span_id}",
            "start_time_us": start_us,
            "end_time_us": end_us,
            "server": known["server"] or told.server or UNKNOWN,
            "provider": known["provider"] or told.provider or UNKNOWN,
            "model": model,
            "model_version": known["model_version"] or told.model_version or model,
            "operation": told.operation,
            "stream": told.stream,
            "route": _route(known["route"]),
            "feature": known["feature"],
            "user_id": known["user_id"] or told.user_id,
            "plan": known["plan"],
            "status_code": told.status_code,
            "error_type": told.error_type,
            "finish_reasons": told.finish_reasons,
            "aborted": told.aborted,
            "input_tokens": told.input_tokens,
            "cached_input_tokens": cached,
            "output_tokens": told.output_tokens,
            "ttft_s": told.ttft_s,
            "tpot_s": _tpot_s(told, e2e_s),
            "e2e_s": e2e_s,
            "queue_s": told.queue_s,
            "prefill_s": told.prefill_s,
            "decode_s": told.decode_s,
            **self._texts(span.attributes),
        }
        try:
            return RequestEvent(**fields)
        except ValidationError as error:
            raise SpanRefusedError(DeadLetterReason.INVALID_VALUE, _said(error)) from None

    def _times(self, span: Span, now_us: int) -> tuple[int, int]:
        start_us, end_us = span.start_ns // 1_000, span.end_ns // 1_000
        if not span.start_ns or not span.end_ns:
            raise SpanRefusedError(
                DeadLetterReason.MISSING_FIELD,
                f"start {span.start_ns} and end {span.end_ns}: expected both, in nanoseconds",
            )
        if end_us < start_us:
            raise SpanRefusedError(
                DeadLetterReason.TIME_OUT_OF_RANGE, f"end {end_us} us is before start {start_us} us"
            )
        if start_us < MIN_TIME_US:
            raise SpanRefusedError(
                DeadLetterReason.TIME_OUT_OF_RANGE, f"start {start_us} us is before 2020-01-01"
            )
        if end_us > now_us + self.future_us:
            raise SpanRefusedError(
                DeadLetterReason.TIME_IN_FUTURE,
                f"end {end_us} us is {end_us - now_us} us later than now",
            )
        return start_us, end_us

    def _named(self, span: Span) -> dict[str, str | None]:
        """Return what the operator's choice of attributes says."""
        found = {}
        for field in OtlpAttributes.model_fields:
            names: Sequence[str] = getattr(self.names, field)
            found[field] = name_in(span.attributes, *names) or name_in(span.resource, *names)
        return found

    def _texts(self, attributes: Mapping[str, Any]) -> dict[str, str | None]:
        if not self.text.wants_prompt:
            return {}
        answer = output_in(attributes)
        fields = self.text.fields(prompt_in(attributes), answer or "", truncated=False)
        return fields if answer is not None else {**fields, "output_redacted": None}


def _check_ids(span: Span) -> None:
    for name, value, length in (("trace_id", span.trace_id, 32), ("span_id", span.span_id, 16)):
        if len(value) != length or not _HEX.issuperset(value) or not value.strip("0"):
            raise SpanRefusedError(
                DeadLetterReason.INVALID_VALUE if value else DeadLetterReason.MISSING_FIELD,
                f"{name} {value[:64]!r}: expected {length} hexadecimal digits, not all of them 0",
            )


def _route(text: str | None) -> Route:
    return Route(text) if text in tuple(Route) else Route.STABLE


def _tpot_s(told: Told, e2e_s: float) -> float | None:
    """Return the time per output token as schemas.event defines it, of answers that went well."""
    if told.error_type is not None or told.aborted:
        return None
    if told.ttft_s is None or told.output_tokens is None:
        return None
    each = told.output_tokens / told.choices
    return max(0.0, e2e_s - told.ttft_s) / (each - 1) if each > 1 else None


def _said(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False)[:10]
    return "; ".join(f"{'.'.join(map(str, f['loc'])) or 'span'}: {f['msg']}" for f in faults)
