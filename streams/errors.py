"""Exceptions of streams.

TocsinError
└── StreamsError
    ├── StoreUnavailable   the store cannot be reached or is not able now; try again
    └── StoreRefused       the store will never take these rows
"""

from __future__ import annotations

from schemas.errors import TocsinError

__all__ = ["StoreRefused", "StoreUnavailable", "StreamsError"]


class StreamsError(TocsinError):
    """The root of what streams raise."""


class StoreUnavailable(StreamsError):
    """The store cannot be reached or is not able now; trying again later is right."""


class StoreRefused(StreamsError):
    """The store will never take these rows as they are."""
