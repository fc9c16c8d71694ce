"""The rows of an INSERT on their way to the engine: a file without a name, read through its number.

The engine reports what happens while it writes only for an INSERT that reads its rows by itself
(docs/adr/0002), so they are put where it can. Nothing of a body that breaks off reaches a table.
"""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

from tocsin.embedded.store.disk import Disk
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.statuses import ErrorCode

__all__ = ["Spool"]

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))


class Spool:
    """Bytes in a file of `directory` that has no name: they go with `close`, or with the process.

    Raises:
        EngineError: the disk is nearly full (243), or the file cannot be made (76).
    """

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._disk = disk
        disk.check()
        try:
            self._file = tempfile.TemporaryFile(buffering=0, dir=directory)  # noqa: SIM115 - close()
        except OSError as error:
            raise _refusal(error, ErrorCode.CANNOT_OPEN_FILE) from error

    @property
    def path(self) -> str:
        """Give a path by which this process, and no other, opens the file."""
        return f"/proc/self/fd/{self._file.fileno()}"

    def append(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            EngineError: the disk is nearly full (243), or fails otherwise (75).
        """
        self._disk.check()
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise _refusal(error, ErrorCode.CANNOT_WRITE_TO_FILE_DESCRIPTOR) from error

    def close(self) -> None:
        """Let go of the file and its bytes."""
        self._file.close()


def _refusal(error: OSError, otherwise: ErrorCode) -> EngineError:
    code = ErrorCode.NOT_ENOUGH_SPACE if error.errno in _FULL else otherwise
    return EngineError(code, f"Cannot keep the rows of the query: {error.strerror}. ({code.name})")
