"""Exceptions of streams.

TocsinError
└── StreamsError
    ├── StoreUnavailableError   the store cannot be reached or is not able now; try again
    └── StoreRefusedError       the store will never take these rows
"""

from __future__ import annotations

from schemas.errors import TocsinError

__all__ = ["StoreRefusedError", "StoreUnavailableError", "StreamsError"]


class StreamsError(TocsinError):
    """The root of what streams raise."""


class StoreUnavailableError(StreamsError):
    """The store cannot be reached or is not able now; trying again later is right."""


class StoreRefusedError(StreamsError):
    """The store will never take these rows as they are."""
