"""Exclusive ownership of a data directory, released by the kernel when its process dies."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tocsin.embedded.store.errors import DirectoryHeldError

__all__ = ["LOCK_NAME", "DirectoryLock"]

LOCK_NAME = "tocsin-store.lock"


class DirectoryLock:
    """Hold `path` for this process; a second holder learns who has it and since when.

    The lock is flock(2) on a file that is never deleted, so that a holder that was killed leaves
    nothing to clean up: the kernel has dropped its lock already.
    """

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self._path = path
        self._now = now
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            DirectoryHeldError: a live process holds the directory.
        """
        self._path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, since = _holder(os.pread(descriptor, 4096, 0))
            os.close(descriptor)
            raise DirectoryHeldError(str(self._path), pid, since) from None
        note = {"pid": os.getpid(), "since": self._now().isoformat(timespec="seconds")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the directory back; does nothing when it is not held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _holder(note: bytes) -> tuple[int | None, str | None]:
    try:
        fields = json.loads(note)
        return int(fields["pid"]), str(fields["since"])
    except (ValueError, KeyError, TypeError):
        # The holder has locked but not yet written, or something else wrote here.
        return None, None
