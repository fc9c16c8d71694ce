"""The receiver as something to start and to stop: in a thread of the demo, or alone.

A thread with a loop of its own is enough: the receiver waits nearly always, and the demo's own
loop must never wait for it.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import uvicorn

from schemas.clock import Clock, system_clock
from tocsin.receiver.app import PAGERDUTY_PATH, SLACK_PATH, create_app
from tocsin.receiver.board import Board
from tocsin.receiver.errors import ReceiverStartError

__all__ = ["Receiver"]

_START_S: Final = 10
_STOP_S: Final = 5


class Receiver:
    """A receiver on the loopback interface; use it in a ``with`` statement or by start and stop.

    ``port`` 0 takes a free one. ``token`` is made up unless given.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        token: str | None = None,
        slack_token: str | None = None,
        pagerduty_routing_key: str | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self.token = token or secrets.token_urlsafe(24)
        self.board = Board(clock)
        self.on_listening: Callable[[], None] = lambda: None
        self._port = port
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        app = create_app(
            self.board,
            token=self.token,
            slack_token=slack_token,
            pagerduty_routing_key=pagerduty_routing_key,
        )
        self._server = _Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=1,
                server_header=False,
            ),
            on_started=self._listening,
            on_shutdown=self.board.feed.close,
        )

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """Return the page's address, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def slack_base_url(self) -> str:
        """Return what ``TOCSIN_NOTIFY__SLACK_BASE_URL`` should be; it ends with a slash."""
        return f"{self.url}{SLACK_PATH}/"

    @property
    def pagerduty_base_url(self) -> str:
        """Return what ``TOCSIN_NOTIFY__PAGERDUTY_BASE_URL`` should be."""
        return f"{self.url}{PAGERDUTY_PATH}"

    def start(self) -> Self:
        """Listen and serve in a thread; return when requests are answered.

        Raises:
            ReceiverStartError: when the port is taken or the server does not come up.
        """
        self._bind()
        started = threading.Event()
        self.on_listening = started.set
        self._thread = threading.Thread(
            target=self._serve, args=(started,), name="receiver", daemon=True
        )
        self._thread.start()
        if not started.wait(_START_S) or not self._server.started:
            self.stop()
            raise ReceiverStartError(f"127.0.0.1:{self._port}: the receiver did not come up")
        return self

    def stop(self) -> None:
        """End every stream and stop; safe to call twice."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_S)
            self._thread = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def serve(self) -> None:
        """Serve in this task until SIGINT or SIGTERM.

        Raises:
            ReceiverStartError: when the port is taken.
        """
        self._bind()
        assert self._socket is not None  # noqa: S101 - _bind has just set it
        await self._server.serve(sockets=[self._socket])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _bind(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._port))
        except OSError as error:
            listener.close()
            raise ReceiverStartError(f"127.0.0.1:{self._port}: {error.strerror}") from None
        self._port = listener.getsockname()[1]
        self._socket = listener

    def _listening(self) -> None:
        self.on_listening()

    def _serve(self, started: threading.Event) -> None:
        assert self._socket is not None  # noqa: S101 - start has just bound it
        try:
            asyncio.run(self._server.serve(sockets=[self._socket]))
        finally:
            started.set()  # a server that died before it started must not be waited for


class _Server(uvicorn.Server):
    """Uvicorn that tells when it is up, and ends the pages' streams before it waits for them."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_started: Callable[[], None],
        on_shutdown: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_shutdown = on_shutdown

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_shutdown()
        await super().shutdown(sockets)
