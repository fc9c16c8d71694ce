"""``tocsin gateway``: OpenAI's API in front of all upstreams, obeying the flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tocsin.cli.console import console, errors_told, settings_for_command
from tocsin.cli.processes import show_metrics

if TYPE_CHECKING:
    from schemas.settings import Settings

__all__ = ["gateway"]


def gateway(
    check: Annotated[bool, typer.Option("--check", help="read the file and stop")] = False,
    new_key: Annotated[
        str, typer.Option("--new-key", metavar="NAME", help="print a new API key and its entry")
    ] = "",
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; docs/gateway.md describes its file.

    Listens at TOCSIN_GATEWAY__HOST and _PORT (127.0.0.1:8800) and reads TOCSIN_GATEWAY__CONFIG
    (gateway.yaml); `tocsin settings --names` lists its limits of time and size. Metrics:
    http://HOST:PORT/metrics as set by TOCSIN_GATEWAY__METRICS_HOST and _METRICS_PORT.

    Example: TOCSIN_GATEWAY__CONFIG=/etc/tocsin/gateway.yaml tocsin gateway
    """
    import asyncio
    import signal

    from serving.gateway.load import load_gateway
    from serving.gateway.process import check_exposure, run_gateway

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
        show_metrics("GATEWAY", settings.gateway.metrics_host, settings.gateway.metrics_port)
        _create_flags(settings)

        async def run() -> None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            await run_gateway(settings, stop, loaded=loaded, ready=_tell)

        asyncio.run(run())


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
