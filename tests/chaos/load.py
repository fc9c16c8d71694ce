"""The sender's process and what it has sent so far."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from tests.chaos.ledger import Ledger
from tests.chaos.rig import Rig
from tests.chaos.sender import progress_of
from tests.chaos.traffic import SERIES, USERS
from tocsin.embedded.child import Child

__all__ = ["Load"]


class Load:
    """The sender's process and what it has sent so far."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.out = rig.path / "sent.npy"
        self._log = rig.path / "sender.log"
        self._process: Child | None = None

    def start(self, events: int, seconds: float, **options: Any) -> None:
        """Start to send events over some seconds."""
        command = [sys.executable, "-m", "tests.chaos.sender"]
        command += ["--bootstrap", self._rig.broker.bootstrap, "--out", str(self.out)]
        values = {"partitions": self._rig.options.partitions, **options}
        for name, value in {"events": events, "seconds": seconds, **values}.items():
            if value is True:
                command.append(f"--{name}")
            elif value is not False:
                command += [f"--{name}", str(value)]
        self._process = Child("the sender", command, self._log)
        self._process.start()

    @property
    def progress(self) -> tuple[int, int, int]:
        """Return how many events were sent, acknowledged, and sent twice so far."""
        return progress_of(self.out)

    def running(self) -> bool:
        """Tell whether it still sends.

        Raises:
            PartFailedError: it ended without having sent all.
        """
        assert self._process is not None
        code = self._process.poll()
        if code:
            self._process.check()
        return code is None

    def enough(self) -> None:
        """Let it send no more; it ends once what it has sent is acknowledged."""
        assert self._process is not None
        if self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGUSR1)

    def stop(self) -> None:
        """End it, whatever it does."""
        if self._process is not None:
            self._process.kill()

    def ledger(self) -> Ledger:
        """Return what it sent, once it is done."""
        return Ledger.load([self.out], SERIES, USERS)
