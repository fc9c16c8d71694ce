"""An environment for each peer, so that none of their packages meets ours or another's."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Final

from benchmarks.core.errors import InstallError
from benchmarks.core.registry import Contender

__all__ = ["interpreter", "variables", "version"]

_ROOT: Final = Path(__file__).parents[2]
_HOME: Final = _ROOT / ".bench-venv"
_INSTALL_S: Final = 600


def interpreter(contender: Contender) -> str:
    """Return the Python that runs a contender, its package installed.

    Raises:
        InstallError: pip or venv fails.
    """
    if not contender.package:
        return sys.executable
    home = _HOME / contender.name
    python, stamp = home / "bin" / "python", home / "installed"
    wanted = f"{contender.package} {sys.version}"
    if not (stamp.is_file() and stamp.read_text() == wanted):
        _HOME.mkdir(exist_ok=True)
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        _run([*pip, "--only-binary=:all:", contender.package])
        stamp.write_text(wanted)  # last: an installation that was cut short is done again
    return str(python)


def variables() -> dict[str, str]:
    """Return the environment of a contender's process.

    The repository and its packages come before a peer's own, so that all decode with the same
    versions.
    """
    ours = [str(_ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(ours))}


def version(contender: Contender) -> str:
    """Return the version of what a contender is built on; "" when it is not installed."""
    name = contender.distribution
    if not contender.package:
        return metadata.version(name)
    library = _HOME / contender.name / "lib"
    paths = [str(path) for path in library.glob("python*/site-packages")]
    found = next(iter(metadata.distributions(name=name, path=paths)), None)
    return found.version if found else ""


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_INSTALL_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(str(error)) from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InstallError("\n".join(said[-3:]))
