"""Who may ask: ClickHouse's ways to send a user and a password over HTTP."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.statuses import ErrorCode

__all__ = ["Credentials"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """The one user of the embedded store."""

    user: str = "default"
    password: str = ""

    def check(self, headers: Mapping[str, str], query: Mapping[str, str]) -> None:
        """Compare what a request sent; nothing sent means user `default` without a password.

        Raises:
            EngineError: code 516, wrong user or password, or two ways used at once.
        """
        user, password = _sent(headers, query)
        # Both are compared always, so that timing tells nothing about which was wrong.
        same_user = hmac.compare_digest(user.encode(), self.user.encode())
        same_password = hmac.compare_digest(password.encode(), self.password.encode())
        if not (same_user and same_password):
            raise EngineError(
                ErrorCode.AUTHENTICATION_FAILED,
                f"{user}: Authentication failed: password is incorrect, or there is no user with "
                "such name. (AUTHENTICATION_FAILED)",
            )


def _sent(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str, str]:
    by_header = "x-clickhouse-user" in headers or "x-clickhouse-key" in headers
    basic = headers.get("authorization", "")
    by_query = "user" in query or "password" in query
    if by_header + bool(basic) + by_query > 1:
        raise EngineError(
            ErrorCode.AUTHENTICATION_FAILED,
            "Invalid authentication: only one of X-ClickHouse headers, the Authorization header "
            "and query parameters may be used. (AUTHENTICATION_FAILED)",
        )
    if by_header:
        user = headers.get("x-clickhouse-user", "")
        return user or "default", headers.get("x-clickhouse-key", "")
    if basic:
        return _basic(basic)
    return query.get("user") or "default", query.get("password", "")


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            pass
        else:
            return user or "default", password
    raise EngineError(
        ErrorCode.AUTHENTICATION_FAILED,
        f"Invalid authentication: '{scheme}' HTTP Authorization scheme is not supported. "
        "(AUTHENTICATION_FAILED)",
    )
