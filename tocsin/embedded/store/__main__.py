"""Run the store: `python -m tocsin.embedded.store --path DIR --port 8123`."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
import uvicorn

from tocsin.embedded.store.access import Credentials
from tocsin.embedded.store.app import Limits, StoreApp
from tocsin.embedded.store.engine import Engine
from tocsin.embedded.store.errors import StoreError
from tocsin.embedded.store.lock import DirectoryLock

_MIB = 1 << 20
_KEEP_ALIVE_S = 30
# How long queries may go on after SIGTERM before they are stopped, and the server with them.
_GRACE_S = 3.0
_DRAIN_S = 8


def main(
    path: Annotated[Path, typer.Option(help="Data directory.")],
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to bind; 0 takes a free one.")] = 8123,
    port_file: Annotated[Path | None, typer.Option(help="Write the port here.")] = None,
    memory_mib: Annotated[int, typer.Option(help="Memory of the engine.")] = 4096,
    body_mib: Annotated[int, typer.Option(help="Largest request body.")] = 1024,
) -> None:
    """Serve ClickHouse's HTTP protocol from the engine in this process until SIGTERM."""
    try:
        listener = _listen(host, port)
        with DirectoryLock(path, lambda: datetime.now(UTC)):
            _serve(path, listener, port_file, memory_mib * _MIB, body_mib * _MIB)
    except (StoreError, OSError) as error:
        sys.stderr.write(f"tocsin store: {error}\n")
        raise SystemExit(1) from error


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only where it is; without it every
    # answer waits 40 ms for a delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise StoreError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _serve(
    path: Path, listener: socket.socket, port_file: Path | None, memory: int, body: int
) -> None:
    engine = Engine(
        path,
        server_options={
            "max_server_memory_usage": str(memory),
            "mark_cache_size": str(64 * _MIB),
            "primary_index_cache_size": str(64 * _MIB),
        },
        query_settings={"max_memory_usage": str(memory // 2)},
    )
    # The same variables by which clients learn them (schemas.settings), read without the tree.
    credentials = Credentials(
        user=os.environ.get("TOCSIN_CLICKHOUSE__USERNAME", "default"),
        password=os.environ.get("TOCSIN_CLICKHOUSE__PASSWORD", ""),
    )
    store = StoreApp(engine, credentials, Limits(body_bytes=body))
    server = _Server(
        store.interrupt,
        uvicorn.Config(
            store.starlette(),
            log_level="warning",
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_DRAIN_S,
        ),
    )
    # uvicorn stops on SIGTERM and then raises the signal again: that one must not end us early.
    signal.signal(signal.SIGTERM, _ignore)
    signal.signal(signal.SIGINT, _ignore)
    if port_file is not None:
        _write(port_file, str(listener.getsockname()[1]))
    try:
        server.run(sockets=[listener])
    finally:
        store.close()


class _Server(uvicorn.Server):
    """A server that does not wait for a long query for ever when it is asked to end."""

    def __init__(self, interrupt: Callable[[], None], config: uvicorn.Config) -> None:
        super().__init__(config)
        self._interrupt = interrupt

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        super().handle_exit(sig, frame)
        timer = threading.Timer(_GRACE_S, self._interrupt)
        timer.daemon = True
        timer.start()


def _write(target: Path, text: str) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(target)


def _ignore(number: int, frame: FrameType | None) -> None:
    del number, frame


if __name__ == "__main__":
    typer.run(main)
