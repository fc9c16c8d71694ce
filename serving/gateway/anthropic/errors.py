"""Turn Anthropic's errors into OpenAI's. Pure."""

from __future__ import annotations

from typing import Final

import orjson

__all__ = ["to_error"]

_OVERLOADED: Final = 529
_STATUS: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 503,
}
"""By https://platform.claude.com/docs/en/api/errors; a stream tells its errors without a status."""


def to_error(error: object, status: int | None = None) -> tuple[int, bytes | None]:
    """Return status and body of an error as OpenAI's API would tell it.

    529 (overloaded) becomes 503, which OpenAI's clients know.

    Args:
        error: what was sent, parsed: an object of type `error`.
        status: of HTTP; None in a stream, where the type has to tell it.
    """
    told = error.get("error") if isinstance(error, dict) else None
    kind = told.get("type") if isinstance(told, dict) else None
    if status is None:
        status = _STATUS.get(kind, 500) if isinstance(kind, str) else 500
    elif status == _OVERLOADED:
        status = 503
    if not isinstance(told, dict) or not isinstance(kind, str):
        return status, None
    message = told.get("message")
    content = {
        "message": message if isinstance(message, str) else "The upstream gave no reason.",
        "type": kind,
        "param": None,
        "code": status,
    }
    return status, orjson.dumps({"error": content})
