"""One part of the stack as a child process: start, wait until it is ready, watch, stop."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tocsin.embedded.errors import PartFailedError

__all__ = ["Child"]

_POLL_S: Final = 0.05
_TAIL_BYTES: Final = 3_000


class Child:
    """A process of ours, with its log file.

    It has a session of its own: Ctrl-C reaches the launcher alone, which stops its parts in order.
    Where util-linux's ``setpriv`` is (every Debian), the kernel ends it should the launcher be
    killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return the process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def poll(self) -> int | None:
        """Return the exit code of a process that has ended; None while it runs."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the process; ``wait_until`` tells when it is ready."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_follow_parent(), *self._command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool], timeout_s: float = 30) -> float:
        """Wait until a condition holds and return the seconds it took.

        Raises:
            PartFailedError: the process ended or the time is over; with the end of its log.
        """
        started = time.monotonic()
        while not ready():
            self.check()
            if time.monotonic() - started > timeout_s:
                raise PartFailedError(
                    f"{self.name} was not ready in {timeout_s:g} s: {self.tail()}"
                )
            time.sleep(_POLL_S)
        return time.monotonic() - started

    def check(self) -> None:
        """Raise when the process has ended.

        Raises:
            PartFailedError: with the exit code and the end of the log.
        """
        code = self.poll()
        if code is not None:
            raise PartFailedError(f"{self.name} ended with exit code {code}: {self.tail()}")

    def tail(self) -> str:
        """Return the end of the log, and where the rest is."""
        try:
            text = self._log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            text = ""
        return f"{text}\n(log: {self._log})" if text else f"nothing was printed to {self._log}"

    def stop(self, timeout_s: float = 15) -> int | None:
        """Ask the process to end, wait, kill it if it does not; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


def _follow_parent() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
