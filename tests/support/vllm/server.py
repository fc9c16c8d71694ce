"""Start a real vLLM on a tiny model, and end it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.vllm.cases import API_KEY, LORA, MODEL, Server

__all__ = ["ADMISSION_LIMIT", "VENV", "Running", "serve"]

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / ".vllm-venv"
MODELS = VENV / "models"
ADMISSION_LIMIT = 6
_START_S = 240

_COMMON = ["--max-model-len", "2048", "--enforce-eager", "--api-key", API_KEY]
_GENERATE = [
    *("--served-model-name", MODEL, "--max-num-seqs", str(ADMISSION_LIMIT)),
    *("--max-num-queued-reqs", str(ADMISSION_LIMIT)),
    *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    *("--enable-lora", "--lora-modules", f"{LORA}={MODELS / 'tiny-lora'}"),
]
_EMBED = ["--served-model-name", MODEL, "--runner", "pooling", "--convert", "embed"]


def _children(pid: int) -> list[tuple[int, str]]:
    """Return (pid, command) of the processes that `pid` has started, read from /proc."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            status = (directory / "stat").read_text()
            parent = int(status.rpartition(")")[2].split()[1])
            if parent == pid:
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((int(directory.name), command))
    return found


@dataclass(frozen=True)
class Running:
    """A vLLM that answers."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill_engine(self) -> None:
        """Kill the process that computes, as a crash would."""
        engines = [pid for pid, command in _children(self.process.pid) if "EngineCore" in command]
        assert engines, "no engine process found"
        for pid in engines:
            os.kill(pid, signal.SIGKILL)

    def client(self) -> Server:
        """Return what the cases drive."""
        return Server(self.url, self.kill_engine)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2) as answer:  # noqa: S310
            if answer.status == 200:
                return
        time.sleep(0.5)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
    raise RuntimeError(f"vLLM did not start (rc {process.poll()}):\n{tail}")


@contextmanager
def serve(
    kind: str,
    log: Path,
    *,
    middleware: str,
    environment: Mapping[str, str],
    arguments: Sequence[str] = (),
    version: str = "tiny-v1",
) -> Iterator[Running]:
    """Run `vllm serve` until the block ends.

    Args:
        kind: `generate` or `embed`.
        log: where its output goes.
        middleware: import path of the ASGI middleware.
        environment: variables to add.
        arguments: further arguments.
        version: which of the tiny models.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(VENV / "bin" / "vllm"), "serve", str(MODELS / version)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--middleware", middleware]
    command += [*_COMMON, *(_EMBED if kind == "embed" else _GENERATE), *arguments]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOCSIN_", "VLLM_", "PYTEST"))}
    settings = {
        "PATH": f"{VENV / 'bin'}:{kept.get('PATH', '')}",
        "VIRTUAL_ENV": str(VENV),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_SERVER_DEV_MODE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=kept | settings | dict(environment),
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # A group, to end all of it; no session of its own, or the kernel's autogroups may let
            # the spinning engine starve the client for seconds on a machine with two cores.
            process_group=0,
        )
        try:
            _wait(process, url, log)
            yield Running(url, process, log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the server, and after a while everything that it has started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
