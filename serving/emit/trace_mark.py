"""Mark the trace context of a request that is reported, so that spans of it are not events too.

The mark is a member of W3C's `tracestate` and names the parent that `traceparent` names. A server's
span of this very request has that parent and hands the mark on; spans further down have other
parents, so what an application asks of other models in the same trace still counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["MARK", "mark_trace", "marked_parent"]

MARK: Final = "tocsin"
_PARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_MEMBERS: Final = 32
"""As many as W3C's Trace Context allows (section 3.3.1.1)."""

Headers = Sequence[tuple[bytes, bytes]]


def mark_trace(headers: Headers) -> Headers:
    """Return a request's headers with the mark, or as they are when they carry no trace."""
    parents = [value for name, value in headers if name.lower() == b"traceparent"]
    if len(parents) != 1 or (found := _PARENT.fullmatch(parents[0].strip())) is None:
        return headers
    states = [value for name, value in headers if name.lower() == b"tracestate"]
    own = MARK.encode() + b"="
    members = [part.strip() for state in states for part in state.split(b",")]
    kept = [member for member in members if member and not member.startswith(own)]
    state = b",".join([own + found[1], *kept[: _MEMBERS - 1]])
    return [*(h for h in headers if h[0].lower() != b"tracestate"), (b"tracestate", state)]


def marked_parent(trace_state: str) -> str | None:
    """Return the parent that a trace state's mark names, or None where there is no mark."""
    for member in trace_state.split(","):
        key, found, value = member.strip().partition("=")
        if found and key == MARK:
            return value.strip()
    return None
