"""Where the buckets of rate limits are kept: in the memory of one process, or of several."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

from serving.gateway.bucket import TokenBucket

__all__ = ["BucketKey", "Buckets", "MemoryBuckets"]


class BucketKey(NamedTuple):
    """Which bucket: of a rule, for somebody."""

    profile: str
    place: int
    """Of the rule in its profile."""
    unit: str
    name: str
    per_minute: float


class Buckets(Protocol):
    """A bounded number of buckets; the longest unused go, and are full when they come back."""

    def locked(self) -> AbstractContextManager[None]:
        """Return what keeps other processes out while buckets are looked at and charged."""

    def get(self, key: BucketKey, at: float) -> TokenBucket:
        """Return a bucket as it is now, or a full one; `at` is monotonic seconds."""

    def put(self, key: BucketKey, bucket: TokenBucket) -> None:
        """Keep a bucket that was charged."""


class MemoryBuckets:
    """The buckets of one process.

    Args:
        capacity: buckets that are kept.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._buckets: OrderedDict[BucketKey, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def locked(self) -> AbstractContextManager[None]:
        """Return nothing to wait for."""
        return nullcontext()

    def get(self, key: BucketKey, at: float) -> TokenBucket:
        """Return a bucket, made when first needed."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(key.per_minute, at)
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket

    def put(self, key: BucketKey, bucket: TokenBucket) -> None:
        """Keep a bucket, which is there already unless it had to go meanwhile."""
