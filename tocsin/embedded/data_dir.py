"""The data directory: requests and their texts lie there, so it is its owner's alone."""

from __future__ import annotations

from pathlib import Path

from tocsin.embedded.errors import DataDirError

__all__ = ["make_data_dir"]


def make_data_dir(path: Path) -> None:
    """Make the directory, readable by its owner only; one that is there stays as it is.

    Raises:
        DataDirError: naming the path and what is wrong with it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirError(
            f"{path} cannot be the data directory: {error.strerror}; choose another with --data-dir"
        ) from None
