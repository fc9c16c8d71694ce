"""Name an error by a short, stable class, whichever API tells of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

__all__ = ["error_class", "find_error"]

_HTTP_NAMES: Final = frozenset(status.name.lower() for status in HTTPStatus)


def error_class(kind: object, code: object = None, message: object = None) -> str:
    """Return a short, stable class for an error: `not_found`, `engine_dead`, `503`."""
    if isinstance(message, str) and "EngineCore encountered an issue" in message:
        return "engine_dead"
    if isinstance(kind, str) and kind.strip():
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.strip())
        if name := re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:64]:
            # vLLM says both "Bad Request" and "BadRequestError".
            short = name.removesuffix("_error")
            if short in _HTTP_NAMES:
                return short
            return name
    return str(code) if isinstance(code, int) else "unknown"


def find_error(data: Mapping[str, Any]) -> str | None:
    """Return the class of the error that an answer tells of, in any of the APIs' shapes."""
    error = data.get("error")
    if isinstance(error, str) and error:
        return error_class(error)
    if isinstance(error, dict):
        return error_class(error.get("type"), error.get("code"), error.get("message"))
    if data.get("type") == "error":  # Responses
        return error_class(data.get("code"), None, data.get("message"))
    return None
