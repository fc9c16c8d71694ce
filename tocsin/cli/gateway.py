"""``tocsin gateway``: OpenAI's API in front of all upstreams, obeying the flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tocsin.cli.console import console, errors_told, settings_for_command
from tocsin.cli.processes import MetricsAddressError, show_metrics

if TYPE_CHECKING:
    import asyncio

    from schemas.settings import Settings
    from serving.gateway.load import LoadedGateway
    from serving.gateway.seat import Seat

__all__ = ["gateway"]

_LAST_PORT = 65_535
_GRACEFUL_S = 20.0
"""What a worker may take to end beside sending its events: answers under way get 10 s."""


def gateway(
    check: Annotated[bool, typer.Option("--check", help="read the file and stop")] = False,
    new_key: Annotated[
        str, typer.Option("--new-key", metavar="NAME", help="print a new API key and its entry")
    ] = "",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=256, help="processes that serve")
    ] = None,
    as_worker: Annotated[str, typer.Option("--as-worker", hidden=True)] = "",
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; docs/gateway.md describes its file.

    Listens at TOCSIN_GATEWAY__HOST and _PORT (127.0.0.1:8800) and reads TOCSIN_GATEWAY__CONFIG
    (gateway.yaml); `tocsin settings --names` lists its limits of time and size. Metrics:
    http://HOST:PORT/metrics as set by TOCSIN_GATEWAY__METRICS_HOST and _METRICS_PORT; each further
    worker has the next port.

    Example: TOCSIN_GATEWAY__CONFIG=/etc/tocsin/gateway.yaml tocsin gateway
    """
    from serving.gateway.load import load_gateway
    from serving.gateway.process import check_exposure
    from serving.gateway.seat import Seat

    with errors_told():
        if new_key:
            _print_key(new_key)
            return
        settings = settings_for_command()
        loaded = load_gateway(settings.gateway.config)
        file = loaded.file
        check_exposure(settings.gateway.host, keys=len(file.keys))
        if check:
            console.print(
                f"{settings.gateway.config}: {len(file.upstreams)} upstreams, "
                f"{len(file.models)} models, {len(file.keys)} keys",
                markup=False,
                highlight=False,
            )
            return
        if as_worker:
            _serve(settings, loaded, Seat.parse(as_worker))
            return
        _create_flags(settings)
        count = workers or settings.gateway.workers
        if count == 1:
            _serve(settings, loaded, None)
        else:
            _keep_workers(settings, count)


def _serve(settings: Settings, loaded: LoadedGateway, seat: Seat | None) -> None:
    """Be the gateway, or one of its workers."""
    import asyncio

    from serving.gateway.process import listen_at, run_gateway
    from serving.gateway.seat import Link
    from serving.gateway.shared_buckets import SharedBuckets

    own = settings.gateway
    index = seat.index if seat else 0
    show_metrics("GATEWAY", own.metrics_host, own.metrics_port + index)

    async def run() -> None:
        stop = _stop_at_signals()
        if seat is None:
            await run_gateway(settings, stop, loaded=loaded, ready=_tell)
            return
        link = Link(seat.link)
        link.stop_with_it(stop)
        share = own.model_copy(update={"concurrency": seat.share(own.concurrency)})
        await run_gateway(
            settings.model_copy(update={"gateway": share}),
            stop,
            loaded=loaded,
            sock=listen_at(own.host, seat.port, shared=True),
            buckets=SharedBuckets(seat.buckets),
            ready=lambda _: link.ready(),
        )

    asyncio.run(run())


def _keep_workers(settings: Settings, count: int) -> None:
    """Run several workers, and end with them."""
    import asyncio
    import sys

    from serving.errors import GatewayWorkerError
    from serving.gateway.workers import Workers

    own = settings.gateway
    if own.metrics_port + count - 1 > _LAST_PORT:
        raise MetricsAddressError(
            f"TOCSIN_GATEWAY__METRICS_PORT: {count} workers need as many ports from "
            f"{own.metrics_port} on, and {_LAST_PORT} is the last one"
        )

    async def run() -> None:
        kept = Workers(
            count,
            [sys.executable, "-m", "tocsin", "gateway", "--as-worker"],
            host=own.host,
            port=own.port,
            grace_s=_GRACEFUL_S + settings.emit.flush_timeout_s,
        )
        await kept.run(_stop_at_signals(), _tell)

    try:
        asyncio.run(run())
    except* GatewayWorkerError as group:
        raise group.exceptions[0] from None


def _stop_at_signals() -> asyncio.Event:
    import asyncio
    import signal

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _tell(url: str) -> None:
    console.print(f"gateway: {url}", markup=False, highlight=False)


def _print_key(name: str) -> None:
    """Print a key, which is shown this once, and the entry that lets it in."""
    import yaml

    from serving.gateway.keys import hash_key, new_key

    key = new_key()
    typer.echo(key)
    typer.echo(yaml.safe_dump([{"name": name, "sha256": hash_key(key)}], sort_keys=False), nl=False)


def _create_flags(settings: Settings) -> None:
    """Create the flag file when there is none, from the providers and versions of the file."""
    import time

    from serving.flags.store import FlagStore
    from serving.gateway.first_flags import first_flags
    from serving.gateway.load import load_gateway

    if settings.flags.path.exists():
        return
    file = load_gateway(settings.gateway.config).file
    FlagStore(settings.flags.path).create(first_flags(file, at_us=time.time_ns() // 1_000))
    console.print(f"created {settings.flags.path}", markup=False, highlight=False)
