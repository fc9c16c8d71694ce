"""Exceptions of the embedded stack.

TocsinError
└── StackError
    ├── DataDirError       the data directory cannot be made or is none
    ├── PortTakenError     something else listens where a part should
    └── PartFailedError    a part did not start, or ended; with the end of its log
"""

from __future__ import annotations

from schemas.errors import TocsinError

__all__ = ["DataDirError", "PartFailedError", "PortTakenError", "StackError"]


class StackError(TocsinError):
    """The embedded stack cannot run."""


class DataDirError(StackError):
    """The data directory cannot be made or is none."""


class PortTakenError(StackError):
    """Something else listens on a port that a part needs."""

    def __init__(self, part: str, port: int, option: str) -> None:
        super().__init__(
            f"port {port} is taken, the {part} cannot listen there: "
            f"end what uses it, or choose another with {option}"
        )


class PartFailedError(StackError):
    """A part did not start, or ended; the text has the end of its log."""
