"""``tocsin worker``, ``executor``, ``api`` and ``migrate``: the processes of a deployment."""

from __future__ import annotations

from schemas.errors import TocsinError
from tocsin.cli.console import console, errors_told, settings_for_command

__all__ = ["MetricsAddressError", "api", "executor", "migrate", "show_metrics", "worker"]


class MetricsAddressError(TocsinError):
    """The address for /metrics is taken or not of this machine."""


def migrate() -> None:
    """Create the topics that are missing and bring the store's schema to this version.

    Safe to run twice, and by several at once.

    Example: TOCSIN_CLICKHOUSE__HOST=ch.internal tocsin migrate
    """
    import asyncio

    from schemas.clickhouse.migrate import migrate as run_migrations
    from schemas.topic_admin import ensure_topics

    with errors_told():
        settings = settings_for_command()
        applied = run_migrations(settings.clickhouse)
        created = asyncio.run(ensure_topics(settings.kafka))
        console.print(f"schema: {len(applied)} migrations applied; topics: {len(created)} created")


def worker() -> None:
    """Run one worker of the streaming core until SIGTERM or Ctrl-C.

    Start more of them to share the partitions. Metrics: http://HOST:PORT/metrics as set by
    TOCSIN_STREAMS__METRICS_HOST and _METRICS_PORT.

    Example: TOCSIN_KAFKA__BOOTSTRAP=kafka:9092 tocsin worker
    """
    import faust
    import uvloop

    from streams.memory import do_without_pandas, return_memory_early
    from streams.worker import build_app
    from tocsin.embedded.data_dir import make_data_dir

    with errors_told():
        settings = settings_for_command()
        make_data_dir(settings.data_dir)
        streams = settings.streams
        show_metrics("STREAMS", streams.metrics_host, streams.metrics_port)
        return_memory_early()
        do_without_pandas()
        uvloop.install()  # for aiokafka's thread as well
        app = build_app(settings)
        # Faust would set logging up its own way; ours stands already.
        faust.Worker(
            app, loglevel=None, override_logging=False, redirect_stdouts=False, quiet=True
        ).execute_from_commandline()


def executor() -> None:
    """Run the executor, which carries out requested actions, until SIGTERM or Ctrl-C.

    Metrics: http://HOST:PORT/metrics as set by TOCSIN_ACTUATORS__METRICS_HOST and _METRICS_PORT.

    Example: TOCSIN_FLAGS__PATH=/etc/tocsin/flags.json tocsin executor
    """
    import asyncio
    import signal

    from serving.executor import run_executor

    with errors_told():
        settings = settings_for_command()
        actuators = settings.actuators
        show_metrics("ACTUATORS", actuators.metrics_host, actuators.metrics_port)

        async def run() -> None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            await run_executor(settings, stop)

        asyncio.run(run())


def api() -> None:
    """Run the HTTP API for alerts, silences, acknowledgements and Slack's buttons until SIGTERM.

    A browser finds the page of the present rollout at http://127.0.0.1:9466/rollout.

    It listens on loopback unless TOCSIN_API__HOST says otherwise, which needs TOCSIN_API__TOKEN.

    Example: TOCSIN_API__HOST=0.0.0.0 TOCSIN_API__TOKEN=... tocsin api
    """
    import asyncio
    import signal

    from tocsin.api.serve import serve_api

    with errors_told():
        settings = settings_for_command()

        async def run() -> None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            await serve_api(settings, stop)

        asyncio.run(run())


def show_metrics(section: str, host: str, port: int) -> None:
    """Serve /metrics.

    Raises:
        MetricsAddressError: it cannot listen there; names the variables that say where.
    """
    import prometheus_client

    try:
        prometheus_client.start_http_server(port, host)
    except OSError as error:
        raise MetricsAddressError(
            f"/metrics cannot listen on {host}:{port}: {error.strerror or error}; choose another "
            f"with TOCSIN_{section}__METRICS_HOST and TOCSIN_{section}__METRICS_PORT"
        ) from error
