"""The kill switch: while `actions.frozen` lies in the data directory, nothing is acted on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from serving.errors import ActuatorError
from serving.flags.atomic import replace_file

__all__ = ["FROZEN_FILE", "freeze", "frozen", "thaw"]

FROZEN_FILE: Final = "actions.frozen"


def freeze(data_dir: Path, *, by: str, reason: str) -> Path:
    """Make every executor of this data directory refuse everything; return the file.

    Raises:
        ActuatorError: the file cannot be written, so nothing is frozen.
    """
    path = data_dir / FROZEN_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        replace_file(path, f"{by}: {reason}\n".encode())
    except OSError as error:
        raise ActuatorError(
            f"NOT frozen: {path} cannot be written: {error.strerror}; TOCSIN_DATA_DIR must be the "
            "executor's data directory"
        ) from error
    return path


def thaw(data_dir: Path) -> bool:
    """Let executors act again; return False when they were not frozen.

    Raises:
        ActuatorError: the file cannot be removed, so they stay frozen.
    """
    try:
        (data_dir / FROZEN_FILE).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ActuatorError(
            f"still frozen: {data_dir / FROZEN_FILE} cannot be removed: {error.strerror}"
        ) from error
    return True


def frozen(data_dir: Path) -> str | None:
    """Return by whom and why actions are frozen, or None.

    A file that cannot be read freezes as well: who put it there meant something.
    """
    path = data_dir / FROZEN_FILE
    try:
        text = path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return text[:500] or f"{path} exists"
