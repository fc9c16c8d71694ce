"""Logging of every process: structlog over the standard library, to standard error."""

from __future__ import annotations

import logging
import sys

import structlog

from schemas.settings import Settings

__all__ = ["configure_logging"]


def configure_logging(settings: Settings) -> None:
    """Send our and the libraries' log lines through one renderer.

    Faust and aiokafka log through the standard library; they are kept at WARNING, since their
    INFO tells of every rebalance.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # Without the values of variables: they may be personal.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info
                if settings.log_format == "json"
                else structlog.dev.set_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for library in ("urllib3", "clickhouse_connect"):  # they warn of what they then raise
        logging.getLogger(library).setLevel(logging.ERROR)
    for package in ("streams", "serving", "alerting", "detectors", "schemas", "tocsin"):
        logging.getLogger(package).setLevel(settings.log_level)
