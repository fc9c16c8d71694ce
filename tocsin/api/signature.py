"""Whether a request is Slack's, and new: its signature, its age, and that it was not seen before.

Slack signs ``v0:{timestamp}:{raw body}`` with HMAC-SHA256 and the app's signing secret, and asks to
refuse what is older than five minutes (its documentation, "Verifying requests from Slack").
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from pydantic import SecretStr

from tocsin.api.errors import UnauthorisedError

__all__ = ["MAX_AGE_S", "Replays", "sign", "verify"]

MAX_AGE_S: Final = 300

_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


def sign(secret: SecretStr, timestamp: str, body: bytes) -> str:
    """Return the signature that Slack sends with a body."""
    text = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.get_secret_value().encode(), text, hashlib.sha256).hexdigest()


def verify(secret: SecretStr, timestamp: str, signature: str, body: bytes, now_us: int) -> None:
    """Return if a request was signed with the secret within the last five minutes.

    Raises:
        UnauthorisedError: saying which of it does not hold.
    """
    if not secret.get_secret_value():
        raise UnauthorisedError("no signing secret is set: TOCSIN_API__SLACK_SIGNING_SECRET")
    if _TIMESTAMP.fullmatch(timestamp) is None:
        raise UnauthorisedError("X-Slack-Request-Timestamp: expected whole seconds")
    if abs(now_us / 1e6 - int(timestamp)) > MAX_AGE_S:
        raise UnauthorisedError(f"X-Slack-Request-Timestamp: more than {MAX_AGE_S} s from now")
    if not hmac.compare_digest(sign(secret, timestamp, body).encode(), signature.encode()):
        raise UnauthorisedError("X-Slack-Signature: wrong")


class Replays:
    """The signatures that were accepted, for as long as they would be."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def take(self, signature: str, now_us: int) -> None:
        """Note a verified signature.

        Raises:
            UnauthorisedError: it was used before.
        """
        # A timestamp may lie ahead as much as behind: twice the age covers both.
        oldest_us = now_us - 2 * MAX_AGE_S * 1_000_000
        while self._seen and next(iter(self._seen.values())) < oldest_us:
            del self._seen[next(iter(self._seen))]
        if signature in self._seen:
            raise UnauthorisedError("X-Slack-Signature: used before")
        self._seen[signature] = now_us

    def forget(self, signature: str) -> None:
        """Let a signature be used again: nothing came of it."""
        self._seen.pop(signature, None)
