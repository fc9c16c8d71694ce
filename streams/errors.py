"""Exceptions of streams.

TocsinError
└── StreamsError
    ├── StoreUnavailableError   the store cannot be reached or is not able now; try again
    ├── StoreRefusedError       the store will never take these rows
    └── AbandonedError          what is in hand is left, to be read again
"""

from __future__ import annotations

from schemas.errors import TocsinError

__all__ = ["AbandonedError", "StoreRefusedError", "StoreUnavailableError", "StreamsError"]


class StreamsError(TocsinError):
    """The root of what streams raise."""


class StoreUnavailableError(StreamsError):
    """The store cannot be reached or is not able now; trying again later is right."""


class StoreRefusedError(StreamsError):
    """The store will never take these rows as they are."""


class AbandonedError(StreamsError):
    """The worker stops, or its partitions move, and the store is away: nothing may be waited for.

    What is in hand stays unacknowledged. Whoever has the partition then reads it again; a worker
    that went on trying would insert what another has inserted meanwhile.
    """
