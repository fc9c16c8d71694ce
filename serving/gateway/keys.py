"""Know clients by API keys of which only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from serving.gateway.model import KeyEntry

__all__ = ["KeyRing", "bearer", "hash_key", "new_key"]

_KEY_LIMIT = 1_024


def new_key() -> str:
    """Return a new key of 256 random bits."""
    return f"tcs-{secrets.token_urlsafe(32)}"


def hash_key(key: str) -> str:
    """Return the SHA-256 of a key; keys are random, so there is nothing for a salt to protect."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class KeyRing:
    """The keys that open the gateway; without any it is open, and must stay on loopback."""

    def __init__(self, entries: Iterable[KeyEntry]) -> None:
        # Found by half of the hash, decided by comparing all of it in constant time: what the
        # time of a look-up tells of a hash is of no use to whoever has to guess a key for it.
        self._entries = {entry.sha256[:32]: entry for entry in entries}

    @property
    def open(self) -> bool:
        """Tell whether no key is asked for."""
        return not self._entries

    def check(self, key: str | None) -> KeyEntry | None:
        """Return whose key it is, or None."""
        if key is None or len(key) > _KEY_LIMIT:
            return None
        digest = hash_key(key)
        entry = self._entries.get(digest[:32])
        known = entry.sha256 if entry else "0" * 64
        return entry if hmac.compare_digest(digest, known) and entry else None


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the key of a request: `Authorization: Bearer`, or Anthropic's `x-api-key`."""
    other: str | None = None
    for name, value in headers:
        if name == b"authorization":
            kind, _, key = value.decode("latin-1").partition(" ")
            if kind.lower() == "bearer":
                return key.strip()
        elif name == b"x-api-key":
            other = value.decode("latin-1").strip()
    return other
