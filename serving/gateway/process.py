"""Run the gateway: listen, serve, and send what is left at the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn

from schemas.settings import Settings
from serving.emit.emitter import KafkaEmitter
from serving.emit.sink import EventSink
from serving.errors import GatewayAddressError
from serving.flags.reader import FlagReader
from serving.gateway.app import Gateway
from serving.gateway.buckets import Buckets
from serving.gateway.guard import guarded_protocol
from serving.gateway.load import LoadedGateway, load_gateway
from serving.hosting import Host, serve_until
from serving.listening import is_loopback, listen, origin_of

__all__ = ["check_exposure", "listen_at", "run_gateway"]

_HEAD_LIMIT = 65_536


async def run_gateway(
    settings: Settings,
    stop: asyncio.Event,
    *,
    ready: Callable[[str], None] | None = None,
    sink: EventSink | None = None,
    loaded: LoadedGateway | None = None,
    sock: socket.socket | None = None,
    made: Callable[[Gateway], None] | None = None,
    buckets: Buckets | None = None,
) -> None:
    """Serve until `stop` is set, then finish what runs.

    Args:
        settings: all settings.
        stop: ends it.
        ready: told the base URL once it can be reached.
        sink: takes the events instead of Kafka.
        loaded: the gateway's file, when it has been read.
        sock: listens already, instead of at the address of the settings.
        made: told the application before it serves.
        buckets: of the rate limits, when other processes share them.

    Raises:
        GatewayFileError: the gateway's file is wrong.
        GatewayAddressError: it cannot, or must not, listen there.
    """
    loaded = loaded or load_gateway(settings.gateway.config)
    check_exposure(settings.gateway.host, keys=len(loaded.file.keys))
    sock = sock or listen_at(settings.gateway.host, settings.gateway.port)
    sink = sink or KafkaEmitter(settings.emit, settings.kafka)
    with FlagReader(settings.flags.path, poll_s=settings.gateway.flags_poll_s) as flags:
        gateway = Gateway(loaded, settings, flags, sink, buckets=buckets)
        if made is not None:
            made(gateway)
        host = Host(_config(gateway, settings.gateway.header_timeout_s))
        try:
            await serve_until(
                stop, [(host, sock)], lambda: ready(f"{origin_of(sock)}/v1") if ready else None
            )
        finally:
            sock.close()


def check_exposure(host: str, *, keys: int) -> None:
    """Refuse to be open to other machines without a key.

    Raises:
        GatewayAddressError: `host` is not of this machine alone, and there are no keys.
    """
    if not keys and not is_loopback(host):
        raise GatewayAddressError(
            f"TOCSIN_GATEWAY__HOST: {host} is open to other machines, and the gateway's file has "
            "no keys: add some (`tocsin gateway --new-key NAME`) or listen on 127.0.0.1"
        )


def _config(gateway: Gateway, header_timeout_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        gateway,
        http=guarded_protocol(header_timeout_s),
        ws="none",
        proxy_headers=False,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=_HEAD_LIMIT,
    )


def listen_at(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a socket that listens, which other processes may do at the same address if `shared`.

    Raises:
        GatewayAddressError: it cannot listen there.
    """
    try:
        return listen(host, port, shared=shared)
    except OSError as error:
        raise GatewayAddressError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another address "
            "with TOCSIN_GATEWAY__HOST and TOCSIN_GATEWAY__PORT"
        ) from error
