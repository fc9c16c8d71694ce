"""How a call went, from a span's status, `error.type`, HTTP status and exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from serving.emit.error_class import error_class
from serving.otlp.span import Span, name_in

__all__ = ["Outcome", "outcome_of"]

_STATUSES: Final = {
    "bad_request": 400,
    "authentication_error": 401,
    "permission_denied_error": 403,
    "not_found": 404,
    "conflict": 409,
    "unprocessable_entity": 422,
    "rate_limit_error": 429,
    "internal_server_error": 500,
}
"""Errors that SDKs of OpenAI's and Anthropic's kind name after the HTTP status they had."""

_GONE: Final = frozenset(
    {"cancelled", "cancelled_error", "generator_exit", "apiuser_abort_error", "abort_error"}
)
"""The caller itself has given up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """HTTP status, class of error (None: it went well), and whether the caller left."""

    status_code: int | None
    error_type: str | None
    aborted: bool = False


def outcome_of(span: Span) -> Outcome:
    """Return how the call of a span went."""
    attributes = span.attributes
    status = _status(attributes.get("http.response.status_code"))
    status = status or _status(attributes.get("http.status_code"))
    kind = name_in(attributes, "error.type") or _exception(span)
    if kind is None and not span.failed and (status is None or status < 400):
        return Outcome(status, None)
    # A class comes with its module: "openai.RateLimitError".
    said = error_class(kind.rpartition(".")[2]) if kind is not None else None
    if said in _GONE:
        return Outcome(status, None, aborted=True)
    if said is not None and status is None:
        status = _status(int(said)) if said.isdecimal() and len(said) == 3 else _STATUSES.get(said)
    if said in (None, "unknown", "other") and status is not None and status >= 400:
        said = str(status)
    return Outcome(status, said or "unknown")


def _exception(span: Span) -> str | None:
    """Return the type of the last exception that was recorded, of a span that failed with it."""
    if not span.failed:  # recorded, and then handled
        return None
    for event in reversed(span.events):
        if event.name == "exception" and (kind := name_in(event.attributes, "exception.type")):
            return kind
    return None


def _status(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) == 3:
        value = int(value)
    return value if type(value) is int and 100 <= value <= 599 else None
