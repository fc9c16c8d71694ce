"""Let one writer at a time change the flag file, across processes."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import FlagLockError

__all__ = ["writer_lock"]

_PAUSE_S = 0.01


@contextmanager
def writer_lock(path: Path, timeout_s: float = 5.0) -> Iterator[None]:
    """Hold `path`.lock for the block; the system frees it when its holder dies.

    The lock is on a file of its own, because the flag file itself is replaced at each write.

    Raises:
        FlagLockError: another writer held it for `timeout_s` seconds.
    """
    path = path.resolve()  # by whatever name it is reached, it is the same lock
    lock = path.with_name(f"{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        for _ in range(max(1, round(timeout_s / _PAUSE_S))):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_PAUSE_S)
        else:
            raise FlagLockError(f"{lock}: another writer has held the lock for {timeout_s:g} s")
        yield
    finally:
        os.close(descriptor)
