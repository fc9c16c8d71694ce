"""Exceptions of the HTTP API.

TocsinError
└── ApiError              an answer other than success; has its HTTP status
    ├── UnauthorisedError 401: no token, a wrong one, or a click that is not Slack's
    ├── UnknownError      404: no such incident, silence or action
    ├── SettledError      409: the action waits for no approval any more; says why
    ├── RequestError      422: the request cannot be understood; says what was expected
    └── AwayError         503: broker or store do not answer
TocsinError
└── ApiStartError         the API cannot listen there, or must not
"""

from __future__ import annotations

from schemas.errors import TocsinError

__all__ = [
    "ApiError",
    "ApiStartError",
    "AwayError",
    "RequestError",
    "SettledError",
    "UnauthorisedError",
    "UnknownError",
]


class ApiError(TocsinError):
    """An answer other than success."""

    status = 500


class UnauthorisedError(ApiError):
    """No token, a wrong one, or a click that is not Slack's."""

    status = 401


class UnknownError(ApiError):
    """No such incident, silence or action."""

    status = 404


class SettledError(ApiError):
    """The action waits for no approval any more."""

    status = 409


class RequestError(ApiError):
    """The request cannot be understood."""

    status = 422


class AwayError(ApiError):
    """Broker or store do not answer."""

    status = 503


class ApiStartError(TocsinError):
    """The API cannot listen there, or must not."""
