"""Run the OTLP receiver in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn

from schemas.clock import Clock, system_clock
from schemas.kafka_client import kafka_client
from schemas.settings import OtlpSettings, Settings
from serving.emit.prompt import TextPolicy
from serving.errors import OtlpAddressError
from serving.gateway.guard import guarded_protocol
from serving.hosting import Host, serve_until
from serving.listening import is_loopback, listen, origin_of
from serving.otlp import metrics
from serving.otlp.app import create_app
from serving.otlp.event import EventMaker
from serving.otlp.handover import Handover, HandsOver

__all__ = ["check_exposure", "maker_of", "run_otlp"]


def maker_of(settings: Settings) -> EventMaker:
    """Return what makes events as the settings have it."""
    return EventMaker(
        settings.otlp.attributes,
        TextPolicy.from_settings(settings.emit),
        round(settings.streams.future_s * 1e6),
    )


def check_exposure(settings: OtlpSettings) -> None:
    """Refuse to be open to other machines without a token.

    Raises:
        OtlpAddressError: they could reach it, and there is no token.
    """
    if not settings.token.get_secret_value() and not is_loopback(settings.host):
        raise OtlpAddressError(
            f"otlp.host is {settings.host}, which others can reach, and there is no token: "
            "set TOCSIN_OTLP__TOKEN, or TOCSIN_OTLP__HOST=127.0.0.1"
        )


async def run_otlp(
    settings: Settings,
    stop: asyncio.Event,
    *,
    ready: Callable[[str], None] | None = None,
    handover: HandsOver | None = None,
    clock: Clock = system_clock,
) -> None:
    """Serve until `stop` is set, then finish what runs.

    Args:
        settings: all settings.
        stop: ends it.
        ready: told the endpoint's URL once it can be reached.
        handover: takes the events instead of Kafka.
        clock: UTC microseconds.

    Raises:
        OtlpAddressError: it cannot, or must not, listen there.
        SettingsError: a certificate for the broker cannot be used.
    """
    otlp = settings.otlp
    check_exposure(otlp)
    kafka_client(settings.kafka)  # what is wrong there is said now, not at the first export
    sock = _listen(otlp)
    handover = handover or Handover(
        settings.emit,
        settings.kafka,
        timeout_s=otlp.broker_timeout_s,
        retry_after_s=otlp.retry_after_s,
    )
    app = create_app(otlp, maker_of(settings), handover, clock)
    host = Host(
        uvicorn.Config(
            app,
            http=guarded_protocol(
                otlp.header_timeout_s, late=lambda: metrics.STALLED.labels("head").inc()
            ),
            ws="none",
            proxy_headers=False,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=10,
        )
    )
    try:
        await serve_until(
            stop, [(host, sock)], lambda: ready(f"{origin_of(sock)}/v1/traces") if ready else None
        )
    finally:
        await handover.close()
        sock.close()


def _listen(settings: OtlpSettings) -> socket.socket:
    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        raise OtlpAddressError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; choose "
            "another address with TOCSIN_OTLP__HOST and TOCSIN_OTLP__PORT (4318 is also where an "
            "OpenTelemetry collector listens)"
        ) from error
