"""Run the API in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import socket

import structlog
import uvicorn

from schemas.clock import Clock, system_clock
from schemas.settings import ApiSettings, Settings
from serving.flags.store import FlagStore
from serving.hosting import Host, serve_until
from serving.listening import is_loopback
from serving.rollout.steer import Steering
from streams.store import Store
from tocsin.api.app import create_app
from tocsin.api.errors import ApiStartError
from tocsin.api.reading import Reading
from tocsin.api.rollout.view import Rollouts
from tocsin.api.sending import CommandSender
from tocsin.api.slack import SlackClicks
from tocsin.api.slack_reply import SlackReplies

__all__ = ["check_address", "serve_api"]

log = structlog.get_logger(__name__)


def check_address(settings: ApiSettings) -> None:
    """Return if the API may listen where the settings say.

    Raises:
        ApiStartError: others than this machine could reach it, and there is no token.
    """
    if settings.token.get_secret_value() or is_loopback(settings.host):
        return
    raise ApiStartError(
        f"api.host is {settings.host}, which others can reach, and there is no token: "
        "set TOCSIN_API__TOKEN, or TOCSIN_API__HOST=127.0.0.1"
    )


async def serve_api(settings: Settings, stop: asyncio.Event, clock: Clock = system_clock) -> None:
    """Serve until ``stop`` is set.

    Raises:
        ApiStartError: it cannot listen there, or must not.
    """
    api = settings.api
    check_address(api)
    listener = _listen(api)
    store, sender = Store(settings.clickhouse), CommandSender(settings.kafka)
    reading = Reading(store)
    replies = SlackReplies(reading, clock)
    clicks = SlackClicks(api.slack_signing_secret, sender, clock, api.slack_approvers, replies)
    rollouts = Rollouts(Steering(FlagStore(settings.flags.path)), clock)
    app = create_app(reading, sender, clicks, rollouts, api.token, clock)
    host = Host(
        uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, lifespan="off"
        )
    )
    log.info("api_listens", host=api.host, port=listener.getsockname()[1])
    try:
        await serve_until(stop, [(host, listener)])
    finally:
        await sender.close()
        store.close()
        listener.close()


def _listen(settings: ApiSettings) -> socket.socket:
    try:
        return socket.create_server(
            (settings.host, settings.port),
            family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
        )
    except OSError as error:
        raise ApiStartError(
            f"the API cannot listen on {settings.host}:{settings.port}: "
            f"{error.strerror or error}; choose another with TOCSIN_API__HOST and TOCSIN_API__PORT"
        ) from None
