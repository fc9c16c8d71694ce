"""What a benchmark ran on: the machine and the versions."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from benchmarks.core.environments import version
from benchmarks.core.registry import CONTENDERS, Contender

__all__ = ["machine", "versions"]

_PACKAGES: Final = ("tocsin", "faust-streaming", "aiokafka", "numpy", "pydantic", "chdb-core")
_ROOT: Final = Path(__file__).parents[2]


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, system, and how busy the machine was before."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions(contenders: tuple[Contender, ...] = tuple(CONTENDERS.values())) -> dict[str, str]:
    """Return the versions of what the contenders are built on, and of the code itself."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    peers = {c.distribution: version(c) for c in contenders if c.package}
    return {**found, **{name: text for name, text in peers.items() if text}, **_commit()}


def _commit() -> dict[str, str]:
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": done.stdout.strip()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
