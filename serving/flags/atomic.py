"""Replace a file so that readers and crashes see the old content or the new, never a part."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["replace_file"]

_STEP_NS = 1_000_000


def replace_file(path: Path, data: bytes, *, default_mode: int = 0o644) -> None:
    """Write `data` to `path` by way of a temporary file beside it, synced to disk before and after.

    The modification time always moves forward by at least a millisecond, because flagd's watcher
    ignores a file that is not newer than the one it has: a coarse clock, or one that was set back,
    would stop it.

    Raises:
        OSError: the file could not be written; the old content stands.
    """
    path = path.resolve()  # a symbolic link stays one
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{path.name}.", suffix=".tmp", dir=path.parent
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), old.st_mode & 0o777 if old else default_mode)
            if old:
                written = os.fstat(file.fileno()).st_mtime_ns
                newer = max(written, old.st_mtime_ns + _STEP_NS)
                os.utime(file.fileno(), ns=(newer, newer))
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the call that is atomic
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
