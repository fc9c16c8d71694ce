"""`tocsin gateway` as a process of its own, with flags and a file in a folder of the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from serving.flags.store import FlagStore
from tests.support.broker import free_port
from tests.support.waiting import until_true

__all__ = ["GatewayProcess", "children", "gateway_process"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class GatewayProcess:
    """Where it serves, where it counts, and the process itself."""

    url: str
    metrics_port: int
    flags: FlagStore
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def workers(self) -> list[int]:
        """Return the ids of its workers."""
        return children(self.process.pid)

    def terminate(self, timeout_s: float = 60) -> int:
        """Ask it to end, as a service manager does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def children(parent: int) -> list[int]:
    """Return the ids of the processes that `parent` has started and that still run."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] not in "ZX":
                found.append(int(directory.name))
    return sorted(found)


@contextmanager
def gateway_process(
    folder: Path, file: Mapping[str, Any], *arguments: str, **settings: str
) -> Iterator[GatewayProcess]:
    """Run it until the block ends.

    Args:
        folder: takes the files, flags and the log.
        file: the gateway's file.
        arguments: of the command.
        settings: variables without their `TOCSIN_`.
    """
    config, log = folder / "gateway.yaml", folder / "gateway.log"
    config.write_text(yaml.safe_dump(dict(file), sort_keys=False))
    port, metrics = free_port(), free_port()
    own = {
        "GATEWAY__CONFIG": str(config),
        "GATEWAY__PORT": str(port),
        "GATEWAY__METRICS_PORT": str(metrics),
        "FLAGS__PATH": str(folder / "flags.json"),
        "DATA_DIR": str(folder / "data"),
        "EMIT__FLUSH_TIMEOUT_S": "1",
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")}
    named = {f"TOCSIN_{name}": value for name, value in (own | settings).items()}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tocsin", "gateway", *arguments],
            env=kept | {"PYTHONPATH": str(ROOT)} | named,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    url = f"http://127.0.0.1:{port}"

    def up() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(httpx.HTTPError):
            return httpx.get(f"{url}/health", timeout=5).status_code == 200
        return False

    try:
        until_true(up, timeout_s=60)
        yield GatewayProcess(f"{url}/v1", metrics, FlagStore(folder / "flags.json"), log, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
