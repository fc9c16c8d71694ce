"""``tocsin otlp``: spans over OTLP/HTTP become request events."""

from __future__ import annotations

from tocsin.cli.console import console, errors_told, settings_for_command
from tocsin.cli.processes import show_metrics

__all__ = ["otlp"]


def otlp() -> None:
    """Take spans of LLM requests over OTLP/HTTP until SIGTERM or Ctrl-C; docs/otlp.md says which.

    Listens at TOCSIN_OTLP__HOST and _PORT (127.0.0.1:4318) for POST /v1/traces; other machines need
    TOCSIN_OTLP__TOKEN. Metrics: http://HOST:PORT/metrics as set by TOCSIN_OTLP__METRICS_HOST and
    _METRICS_PORT.

    Example: TOCSIN_OTLP__HOST=0.0.0.0 TOCSIN_OTLP__TOKEN=... tocsin otlp
    """
    import asyncio
    import signal

    from serving.otlp.process import check_exposure, run_otlp

    with errors_told():
        settings = settings_for_command()
        check_exposure(settings.otlp)
        show_metrics("OTLP", settings.otlp.metrics_host, settings.otlp.metrics_port)

        async def run() -> None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            await run_otlp(settings, stop, ready=_tell)

        asyncio.run(run())


def _tell(url: str) -> None:
    console.print(f"otlp: {url}", markup=False, highlight=False)
