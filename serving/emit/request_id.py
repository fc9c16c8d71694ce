"""Ids for requests that come without one; Tocsin can tell its own from all others.

A view of a request may come back from elsewhere: a span of the server behind a gateway, or of the
client. It has the request's id and so shows that the request was reported already, without anybody
having to remember ids.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from schemas.event import new_event_id

__all__ = ["is_our_request_id", "new_request_id"]

_ID: Final = re.compile(r"[0-9a-f]{32}")
_BODY: Final = 24


def new_request_id() -> str:
    """Return a new id: 24 digits of a UUIDv7 (48 bits of time, 42 of chance), 8 that check them."""
    body = new_event_id().hex[:_BODY]
    return body + _check(body)


def is_our_request_id(text: str) -> bool:
    """Tell whether an id was made by `new_request_id`; of 4e9 others one would pass."""
    return _ID.fullmatch(text) is not None and text[_BODY:] == _check(text[:_BODY])


def _check(body: str) -> str:
    return f"{zlib.crc32(b'tocsin' + body.encode()):08x}"
