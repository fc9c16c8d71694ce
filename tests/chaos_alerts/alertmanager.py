"""Debian's Alertmanager as a process: for the same kills, and as the judge of our grouping."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.support.broker import free_port
from tests.support.waiting import until_true

__all__ = ["Alertmanager", "Hook", "alertmanager_binary", "crash_alertmanager"]


def alertmanager_binary() -> str | None:
    """Return the program's path; None where it is not installed."""
    return shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


class Hook:
    """A webhook that notes what it is sent and when; ``before_answer`` may do harm."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, dict[str, Any]]] = []
        self.before_answer: Callable[[], None] = lambda: None
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.taken.append((time.time(), json.loads(body)))
                hook.before_answer()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Alertmanager:
    """One Alertmanager with its own storage, told of one webhook."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(base_url=self.url, timeout=5, trust_env=False)
        (folder / "config.yml").write_text(yaml.safe_dump(config))

    def start(self) -> None:
        """Start, and return once it is ready."""
        binary = alertmanager_binary()
        assert binary is not None
        self._process = subprocess.Popen(
            [
                binary,
                f"--config.file={self._folder / 'config.yml'}",
                f"--storage.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--cluster.listen-address=",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until_true(self._ready)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        """End it if it runs."""
        self._client.close()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)

    def push(self, alerts: Sequence[dict[str, Any]]) -> None:
        """Send alerts."""
        with contextlib.suppress(httpx.RemoteProtocolError):  # one kept open over a restart
            self._client.post("/api/v2/alerts", json=list(alerts)).raise_for_status()
            return
        self._client.post("/api/v2/alerts", json=list(alerts)).raise_for_status()

    def silence(self, silence: dict[str, Any]) -> None:
        """Put a silence in force."""
        self._client.post("/api/v2/silences", json=silence).raise_for_status()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=1, trust_env=False).is_success
        except httpx.TransportError:
            return False


@contextmanager
def running(config: dict[str, Any]) -> Iterator[Alertmanager]:
    """Run an Alertmanager with a configuration."""
    with tempfile.TemporaryDirectory(prefix="tocsin-am-") as folder:
        one = Alertmanager(Path(folder), config)
        one.start()
        try:
            yield one
        finally:
            one.stop()


def crash_alertmanager(runs: int) -> dict[str, dict[str, object]]:
    """Return how many notifications of one alert came, by the moment of the kill.

    Each run sends one alert once, kills, starts again, waits; and then sends it again, as a client
    that is itself alive would.
    """
    found: dict[str, dict[str, object]] = {}
    for when in ("before it notifies", "while the answer is on its way", "after the answer"):
        alone, resent = Counter[int](), Counter[int]()
        for _ in range(runs):
            first, second = _crash_once(when)
            alone[first] += 1
            resent[second] += 1
        found[when] = {
            "notifications": dict(sorted(alone.items())),
            "and once the alert is sent again": dict(sorted(resent.items())),
        }
    return found


def _crash_once(when: str) -> tuple[int, int]:
    wait_s = 1.0 if when == "before it notifies" else 0.1
    alert = {"labels": {"alertname": "errors", "model": "m"}, "annotations": {"summary": "x"}}
    with Hook() as hook:
        config = {
            "route": {
                "receiver": "hook",
                "group_by": ["alertname"],
                "group_wait": f"{round(wait_s * 1000)}ms",
                "group_interval": "1s",
                "repeat_interval": "1h",
            },
            "receivers": [{"name": "hook", "webhook_configs": [{"url": hook.url}]}],
        }
        with running(config) as one:
            if when == "while the answer is on its way":
                hook.before_answer = one.kill
            one.push([alert])
            if when == "before it notifies":
                one.kill()
            else:
                until_true(lambda: hook.taken)
                time.sleep(0.3)
                hook.before_answer = lambda: None
                if when == "after the answer":
                    one.kill()
            one.start()
            time.sleep(2 * wait_s + 1)
            alone = len(hook.taken)
            one.push([alert])
            time.sleep(2 * wait_s + 1)
            return alone, len(hook.taken)
