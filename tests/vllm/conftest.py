"""A real vLLM, a real broker between them the emitter: started once, driven through every case."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import decode_records
from schemas.engine import EngineSample
from schemas.event import RequestEvent
from schemas.topics import Topics
from tests.support.broker import create_topics, free_port, read_all, running_broker
from tests.support.tcp_proxy import TcpProxy, running_proxy
from tests.support.vllm.server import VENV, Running, serve

SETUP = Path(__file__).resolve().parents[1] / "support" / "vllm" / "setup.py"
MIDDLEWARE = "serving.emit.middleware.TocsinMiddleware"
NO_AVX512 = 3


@dataclass
class Live:
    """A vLLM under watch, and the broker behind a proxy that can be cut; both can be ended."""

    running: Running
    port: int
    proxy: TcpProxy
    _hidden: int
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start_broker(self) -> None:
        self._stack.enter_context(running_broker(self._hidden, advertised=self.port))
        asyncio.run(create_topics(self.bootstrap))

    def end_broker(self) -> None:
        self._stack.close()

    def events(self) -> list[RequestEvent]:
        """Return every event that the broker holds now."""
        records = asyncio.run(read_all(self.bootstrap, Topics.REQUESTS.name))
        decoded = decode_records(
            [value for _, value in records],
            now_us=time.time_ns() // 1_000,
            future_us=1_000_000,
            max_bytes=4 * 1024 * 1024,
        )
        assert decoded.refused == []
        return decoded.events

    def samples(self) -> list[EngineSample]:
        records = asyncio.run(read_all(self.bootstrap, Topics.ENGINE.name))
        return [EngineSample.model_validate_json(value or b"") for _, value in records]

    def await_events(
        self, enough: Callable[[list[RequestEvent]], bool], timeout_s: float = 30
    ) -> list[RequestEvent]:
        """Return the events once there are enough, and after a while in which more could come."""
        deadline = time.monotonic() + timeout_s
        while not enough(self.events()):
            assert time.monotonic() < deadline, [event.feature for event in self.events()]
            time.sleep(0.2)
        time.sleep(1.0)
        return self.events()


@pytest.fixture(scope="session")
def environment() -> None:
    """Make the vLLM environment, or skip with the reason."""
    done = subprocess.run(
        [sys.executable, str(SETUP)], capture_output=True, text=True, check=False, timeout=1_800
    )
    if done.returncode == NO_AVX512:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert VENV.is_dir()


def _live(kind: str, directory: Path, **settings: str) -> Iterator[Live]:
    port = free_port()
    variables = {
        "TOCSIN_KAFKA__BOOTSTRAP": f"127.0.0.1:{port}",
        "TOCSIN_EMIT__SERVER": f"vllm-{kind}",
        **settings,
    }
    log = directory / f"{kind}.log"
    # Two API processes for the short run: each has a middleware and an emitter of its own.
    arguments = ["--api-server-count", "2"] if kind == "embed" else []
    with (
        serve(
            kind, log, middleware=MIDDLEWARE, environment=variables, arguments=arguments
        ) as running,
        running_proxy(port, hidden := free_port()) as proxy,
    ):
        live = Live(running, port, proxy, hidden)
        try:
            live.start_broker()
            yield live
        finally:
            live.end_broker()


@pytest.fixture(scope="module")
def generate(environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    yield from _live("generate", tmp_path_factory.mktemp("generate"))


@pytest.fixture(scope="module")
def embed(environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    capture: dict[str, Any] = {
        "TOCSIN_EMIT__CAPTURE_TEXT": "true",
        "TOCSIN_EMIT__PROMPT_HASH": "true",
    }
    yield from _live("embed", tmp_path_factory.mktemp("embed"), **capture)
