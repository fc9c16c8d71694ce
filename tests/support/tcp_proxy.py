"""A TCP proxy on loopback that can be cut, or lose the answers, as a network can."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["TcpProxy", "running_proxy"]


class TcpProxy:
    """Forward connections from `port` to `target` while it is up; refuse them while it is cut.

    It runs in threads of its own, so that a test may block its loop.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []
        self._mute = False
        self._lock = threading.Lock()

    def up(self) -> None:
        """Listen and forward."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Break all connections and refuse new ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._break()

    def mute(self) -> None:
        """Throw away what the target answers from now on: it does as asked, and nobody hears."""
        self._mute = True

    def unmute(self) -> None:
        """Break all connections, whose answers have holes, and forward new ones whole."""
        self._break()
        self._mute = False

    def _break(self) -> None:
        with self._lock:
            connections, self._open = self._open, []
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:  # cut
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # the target is down
                near.close()
                continue
            with self._lock:
                self._open += [near, far]
            for way in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._forward, args=way, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if not (answers and self._mute):
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def running_proxy(port: int, target: int) -> Iterator[TcpProxy]:
    """Run a proxy until the block ends."""
    proxy = TcpProxy(port, target)
    proxy.up()
    try:
        yield proxy
    finally:
        proxy.cut()
