"""How a browser shows that it has the token, and that a form is ours: signed values, no state."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from pydantic import SecretStr
from starlette.requests import Request

from schemas.clock import Clock

__all__ = ["COOKIE", "LIFETIME_S", "Sessions", "from_elsewhere"]

COOKIE: Final = "tocsin_session"
LIFETIME_S: Final = 12 * 3_600


class Sessions:
    """Sessions of browsers; every API with the same token takes them, until the token changes.

    Args:
        token: the API's; without one every caller of this machine is let in.
        clock: UTC microseconds.
    """

    def __init__(self, token: SecretStr, clock: Clock) -> None:
        self._token = token.get_secret_value()
        secret = self._token.encode() or secrets.token_bytes(32)
        self._key = hashlib.sha256(b"tocsin browser session\0" + secret).digest()
        self._clock = clock

    @property
    def needed(self) -> bool:
        """Tell whether one has to log in at all."""
        return bool(self._token)

    def opened(self, token: str) -> str | None:
        """Return the cookie of a new session, or None when it is not the token."""
        if not hmac.compare_digest(token.strip().encode(), self._token.encode()):
            return None
        until = str(self._clock() // 1_000_000 + LIFETIME_S)
        return f"{until}.{self._sign('session', until)}"

    def holds(self, cookie: str) -> bool:
        """Tell whether a cookie is that of a session which is not over."""
        if not self.needed:
            return True
        until, _, signature = cookie.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("session", until).encode()):
            return False
        return int(until) * 1_000_000 > self._clock()

    def form_token(self, cookie: str, about: str) -> str:
        """Return what a form carries that only a page of this session can have."""
        return self._sign("form", f"{cookie if self.needed else ''}\0{about}")

    def form_is_ours(self, given: str, cookie: str, about: str) -> bool:
        """Tell whether a form came from a page of this session and is about the same."""
        return hmac.compare_digest(given.encode(), self.form_token(cookie, about).encode())

    def _sign(self, kind: str, text: str) -> str:
        return hmac.new(self._key, f"{kind}\0{text}".encode(), hashlib.sha256).hexdigest()


def from_elsewhere(request: Request) -> bool:
    """Tell whether a browser says that a request was made by a page of another origin."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin != str(request.base_url).rstrip("/")
