"""The room left on the store's disk: some of it is never given to rows."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.statuses import ErrorCode

__all__ = ["Disk"]

_LEAST_FREE = 32 << 20
_RESERVE = 2 << 20


class Disk:
    """The file system of `directory`, on which a file holds room for a repair.

    The engine does not notice a write that fails (`damage`), so new rows are refused while there
    is still room, and what others take meanwhile leaves the reserve.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reserve = directory / "reserve"

    def check(self) -> None:
        """Refuse to write more when less than 32 MiB are free.

        Raises:
            EngineError: not enough space (243).
        """
        status = os.statvfs(self._directory)
        if (free := status.f_bavail * status.f_frsize) < _LEAST_FREE:
            raise EngineError(
                ErrorCode.NOT_ENOUGH_SPACE,
                f"only {free >> 10} KiB are free on the disk of the store, at least "
                f"{_LEAST_FREE >> 10} KiB are needed to write. (NOT_ENOUGH_SPACE)",
            )

    def hold_reserve(self) -> None:
        """Take the reserve, where there is room."""
        with suppress(OSError), self._reserve.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _RESERVE)

    def use_reserve(self) -> None:
        """Give the reserve to whoever writes next."""
        self._reserve.unlink(missing_ok=True)
