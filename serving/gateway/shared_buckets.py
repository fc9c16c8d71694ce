"""The buckets of rate limits in memory that several workers of a gateway share.

A file without a name (`memfd_create`) that all of them have mapped, as sets of a few slots, like a
processor's cache: where a key may stand follows from its hash, and in a full set the slot that was
unused for the longest time gives way. The lock is the kernel's (`fcntl`), which takes it back from
a worker that is killed. Monotonic time is the same in all processes of a machine.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final

from serving.gateway.bucket import TokenBucket
from serving.gateway.buckets import BucketKey

__all__ = ["SharedBuckets", "make_shared"]

_SLOT: Final = struct.Struct("<16sdd")  # the key's hash, the level, and when it was that
_WAYS: Final = 8
_EMPTY: Final = bytes(16)


def make_shared(sets: int = 8_192) -> int:
    """Return a descriptor of empty memory for `sets` times eight buckets, 32 bytes each."""
    descriptor = os.memfd_create("tocsin-buckets")
    os.ftruncate(descriptor, sets * _WAYS * _SLOT.size)
    return descriptor


class SharedBuckets:
    """The buckets of all processes that have the same descriptor.

    Args:
        descriptor: of `make_shared`, inherited; it stays open, since closing it would drop locks.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 0)
        self._sets = len(self._memory) // (_WAYS * _SLOT.size)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the other processes out; they need microseconds."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def get(self, key: BucketKey, at: float) -> TokenBucket:
        """Return a bucket as it is now, or a full one."""
        digest = _digest(key)
        for place in self._places(digest):
            name, level, since = _SLOT.unpack_from(self._memory, place)
            if name == digest:
                return TokenBucket(key.per_minute, since, level)
        return TokenBucket(key.per_minute, at)

    def put(self, key: BucketKey, bucket: TokenBucket) -> None:
        """Keep a bucket, in its own slot, an empty one, or the one that is unused for longest."""
        digest = _digest(key)
        chosen, oldest = -1, float("inf")
        for place in self._places(digest):
            name, _, since = _SLOT.unpack_from(self._memory, place)
            if name == digest:
                chosen = place
                break
            age = float("-inf") if name == _EMPTY else since
            if age < oldest:
                chosen, oldest = place, age
        _SLOT.pack_into(self._memory, chosen, digest, *bucket.state)

    def _places(self, digest: bytes) -> range:
        size = _WAYS * _SLOT.size
        begin = int.from_bytes(digest[:8]) % self._sets * size
        return range(begin, begin + size, _SLOT.size)


def _digest(key: BucketKey) -> bytes:
    """Return a name of 16 bytes that is never that of an empty slot."""
    text = "\0".join(map(str, key)).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=16).digest()
