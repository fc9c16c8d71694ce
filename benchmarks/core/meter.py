"""What a process uses: its own time between two moments, and what /proc says of any."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Meter", "Moment", "cpu_seconds", "peak_rss_mb", "rss_mb"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of the machine's monotonic clock, with the CPU seconds this process had used."""

    at_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> Moment:
        """Return this moment; all processes of the machine share the clock."""
        return cls(time.monotonic(), time.process_time())


class Meter:
    """Measures from the first records in hand to the last event that is through."""

    def __init__(self) -> None:
        self.first: Moment | None = None

    def start(self) -> None:
        """Note the first records; later calls change nothing."""
        if self.first is None:
            self.first = Moment.now()

    def stop(self) -> dict[str, float]:
        """Return the seconds, the CPU seconds and the peak memory until now.

        Raises:
            RuntimeError: no record ever came.
        """
        if self.first is None:
            raise RuntimeError("no record came")
        last = Moment.now()
        return {
            "seconds": last.at_s - self.first.at_s,
            "cpu_seconds": last.cpu_s - self.first.cpu_s,
            "peak_rss_mb": peak_rss_mb(),
        }


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a running process has used, user and system, all threads.

    Raises:
        OSError: there is no such process.
    """
    # The name, in brackets, may itself hold blanks: fields are counted behind it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mb(pid: int | str = "self") -> float:
    """Return the resident memory of a process, in MB of 1e6 bytes."""
    return _status(pid, "VmRSS")


def peak_rss_mb(pid: int | str = "self") -> float:
    """Return the most resident memory that a process has had since it was executed.

    ``getrusage`` is no help: its figure outlives exec and may be the parent's.
    """
    return _status(pid, "VmHWM")


def _status(pid: int | str, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1_024 / 1e6
    raise ProcessLookupError(f"process {pid} has ended")
