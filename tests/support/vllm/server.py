"""Start a real vLLM on a tiny model, and end it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.vllm.cases import API_KEY, LORA, MODEL, Server

__all__ = ["ADMISSION_LIMIT", "VENV", "Running", "launched", "serve"]

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / ".vllm-venv"
MODELS = VENV / "models"
ADMISSION_LIMIT = 6
_START_S = 240
_TELL_S = 10

_COMMON = ["--max-model-len", "2048", "--enforce-eager", "--api-key", API_KEY]
_GENERATE = [
    *("--served-model-name", MODEL, "--max-num-seqs", str(ADMISSION_LIMIT)),
    *("--max-num-queued-reqs", str(ADMISSION_LIMIT)),
    *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    *("--enable-lora", "--lora-modules", f"{LORA}={MODELS / 'tiny-lora'}"),
]
_EMBED = ["--served-model-name", MODEL, "--runner", "pooling", "--convert", "embed"]
_KINDS = {"generate": _GENERATE, "embed": _EMBED, "plain": ()}


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
    """A vLLM that was started, at `started` (monotonic seconds), and answers once it is ready."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    started: float

    def check(self) -> None:
        """Raise when it has ended.

        Raises:
            RuntimeError: with the end of its log.
        """
        if self.process.poll() is not None:
            raise RuntimeError(f"vLLM ended with {self.process.poll()}:\n{self.tail()}")

    def wait(self, tell: Callable[[str], None] = lambda _: None) -> float:
        """Wait until it answers; return how many seconds after its start that was.

        Args:
            tell: hears now and then what it is doing.

        Raises:
            RuntimeError: it ended, or needs too long; with the end of its log.
        """
        told = time.monotonic()
        while not self._answers():
            self.check()
            now = time.monotonic()
            if now - self.started > _START_S:
                raise RuntimeError(f"vLLM did not start in {_START_S} s:\n{self.tail()}")
            if now - told > _TELL_S:
                told = now
                tell(self.tail(1)[:100])
            time.sleep(0.25)
        return time.monotonic() - self.started

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
        return False

    def tail(self, lines: int = 40) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def engine(self) -> int:
        """Return the process that computes."""
        engines = [pid for pid, command in _children(self.process.pid) if "EngineCore" in command]
        assert len(engines) == 1, f"engine processes: {engines}"
        return engines[0]

    def kill_engine(self) -> None:
        """Kill the process that computes, as a crash would."""
        os.kill(self.engine(), signal.SIGKILL)

    def client(self) -> Server:
        """Return what the cases drive."""
        return Server(self.url, self.kill_engine)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    """Run `vllm serve` until the block ends, which begins when it answers; see `launched`."""
    with launched(
        kind,
        log,
        middleware=middleware,
        environment=environment,
        arguments=arguments,
        version=version,
    ) as running:
        running.wait()
        yield running


@contextmanager
def launched(
    kind: str,
    log: Path,
    *,
    middleware: str,
    environment: Mapping[str, str],
    arguments: Sequence[str] = (),
    version: str = "tiny-v1",
    port: int = 0,
) -> Iterator[Running]:
    """Start `vllm serve`, and end it with the block.

    Args:
        kind: `generate` (LoRA, an admission limit), `embed`, or `plain`.
        log: where its output goes.
        middleware: import path of the ASGI middleware.
        environment: variables to add.
        arguments: further arguments.
        version: which of the tiny models.
        port: 0 takes a free one.
    """
    port = port or _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(VENV / "bin" / "vllm"), "serve", str(MODELS / version)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--middleware", middleware]
    command += [*_COMMON, *_KINDS[kind], *arguments]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOCSIN_", "VLLM_", "PYTEST"))}
    settings = {
        "PATH": f"{VENV / 'bin'}:{kept.get('PATH', '')}",
        "VIRTUAL_ENV": str(VENV),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_SERVER_DEV_MODE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    started = time.monotonic()
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
            yield Running(url, process, log, started)
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
