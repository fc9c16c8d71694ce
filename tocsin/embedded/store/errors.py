"""What can go wrong in the embedded store.

TocsinError
└── StoreError
    ├── DirectoryHeldError   another process owns the data directory
    ├── StoreStartError      the server process did not become ready
    └── EngineError          a query failed; carries ClickHouse's error code
"""

from __future__ import annotations

import re

from schemas.errors import TocsinError

__all__ = ["DirectoryHeldError", "EngineError", "StoreError", "StoreStartError"]

_CODE = re.compile(r"Code: (\d+)\.")
_VERSION_SUFFIX = re.compile(r"\s*\(version [^()]*(?:\([^()]*\))?[^()]*\)\s*$")
_REPEATED_PREFIX = re.compile(r"^(?:Code: \d+\. DB::Exception: )+(?=Code: \d+\. DB::Exception: )")


class StoreError(TocsinError):
    """Anything the embedded store reports."""


class DirectoryHeldError(StoreError):
    """The data directory is in use by another process."""

    def __init__(self, path: str, pid: int | None, since: str | None) -> None:
        self.path = path
        self.pid = pid
        self.since = since
        holder = f"process {pid}" if pid is not None else "another process"
        when = f" since {since}" if since else ""
        super().__init__(
            f"the data directory {path} is held by {holder}{when}; "
            "stop that process or choose another directory"
        )


class StoreStartError(StoreError):
    """The server process ended or stayed silent before it was ready."""


class EngineError(StoreError):
    """A query failed; `code` is ClickHouse's own error number."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"Code: {code}. DB::Exception: {message}")

    @classmethod
    def from_engine(cls, text: str) -> EngineError:
        """Read the code out of an engine message; 1002 (UNKNOWN_EXCEPTION) when it has none."""
        start = text.find("Code: ")
        body = text[start:] if start >= 0 else text
        body = _REPEATED_PREFIX.sub("", body)
        while (stripped := _VERSION_SUFFIX.sub("", body)) != body:
            body = stripped
        found = _CODE.match(body)
        if found is None:
            return cls(1002, body.strip())
        message = body[found.end() :].strip().removeprefix("DB::Exception: ")
        return cls(int(found.group(1)), message)
