"""Start and stop an embedded store in a process of its own."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tocsin.embedded.child import Child
from tocsin.embedded.errors import PartFailedError
from tocsin.embedded.store.errors import StoreStartError

__all__ = ["StoreAddress", "StoreProcess"]

PASSWORD_VARIABLE = "TOCSIN_CLICKHOUSE__PASSWORD"  # noqa: S105 - the variable's name


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Give the base address for HTTP clients."""
        return f"http://{self.host}:{self.port}"


class StoreProcess:
    """One server process; a context manager that starts and stops it.

    Args:
        path: data directory, created when absent.
        host: address to bind.
        port: port to bind; 0 lets the system choose a free one.
        password: password of the user (`default`, or TOCSIN_CLICKHOUSE__USERNAME).
        log: file for the process's output; the error text of a failed start comes from it.
    """

    def __init__(
        self,
        path: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        password: str = "",
        log: Path | None = None,
    ) -> None:
        self._path = path
        self._host = host
        self._port = port
        self._password = password
        self._log = log
        self._child: Child | None = None
        self._address: StoreAddress | None = None

    @property
    def address(self) -> StoreAddress:
        """Give the address; only after `start`."""
        if self._address is None:
            raise StoreStartError("the store has not been started")
        return self._address

    @property
    def pid(self) -> int | None:
        """Give the process id while it runs."""
        return self._child.pid if self._child else None

    def poll(self) -> int | None:
        """Give the exit code of a process that has ended; None while it runs."""
        return self._child.poll() if self._child else None

    def start(self, timeout_s: float = 30.0) -> StoreAddress:
        """Start the process and wait until it answers.

        Raises:
            StoreStartError: it ended (with what it printed), or did not answer in time.
        """
        with tempfile.TemporaryDirectory(prefix="tocsin-store-") as scratch:
            port_file = Path(scratch) / "port"
            command = [
                *(sys.executable, "-m", "tocsin.embedded.store", "--path", str(self._path)),
                *("--host", self._host, "--port", str(self._port), "--port-file", str(port_file)),
            ]
            self._child = Child(
                "the store",
                command,
                self._log or Path(scratch) / "log",
                {PASSWORD_VARIABLE: self._password},
            )
            self._child.start()
            try:
                self._child.wait_until(lambda: self._ready(port_file), timeout_s)
            except PartFailedError as error:
                self.stop()
                raise StoreStartError(str(error)) from error
            except BaseException:
                self.stop()
                raise
        return self.address

    def stop(self, timeout_s: float = 15.0) -> int | None:
        """Ask the process to end, wait, and kill it if it does not; give its exit code."""
        return self._child.stop(timeout_s) if self._child else None

    def kill(self) -> None:
        """End the process at once, as a crash would (tests of durability)."""
        if self._child:
            self._child.kill()

    def _ready(self, port_file: Path) -> bool:
        try:
            port = int(port_file.read_text())
        except (FileNotFoundError, ValueError):
            return False
        self._address = StoreAddress(self._host, port)
        try:
            return httpx.get(f"{self._address.url}/ping", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
