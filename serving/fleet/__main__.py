"""Start a simulated fleet.

    python -m serving.fleet --flags flags.json --port vllm=8001 --judge-port 8009

Events go where the `TOCSIN_*` variables say. The line on standard output says, as JSON, that all
servers can be reached, and where. SIGTERM and Ctrl-C end it cleanly.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

import orjson
import structlog

from schemas.errors import TocsinError
from schemas.settings import Settings, load_settings
from serving.fleet.process import FleetConfig, run_fleet
from serving.fleet.profile import DEMO_PROFILE, load_profile

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run until a signal comes; return the exit code, 2 for what was asked wrongly."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load_settings()
        _log_to_stderr(settings)
        config = FleetConfig(
            profile=load_profile(arguments.profile),
            flags=arguments.flags or settings.flags.path,
            host=arguments.host,
            ports=dict(arguments.port),
            judge_port=arguments.judge_port,
            admin_token=_token(arguments.admin_token_file),
        )
        asyncio.run(_run(config, settings))
    except (TocsinError, OSError) as error:
        sys.stderr.write(f"fleet: {error}\n")
        return 2
    return 0


async def _run(config: FleetConfig, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run_fleet(config, settings, stop, ready=_say)


def _log_to_stderr(settings: Settings) -> None:
    """Keep standard output for the one line that other programs read."""
    level = logging.getLevelNamesMapping()[settings.log_level]
    logging.basicConfig(stream=sys.stderr, level=max(level, logging.WARNING))
    as_json = settings.log_format == "json"
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _say(urls: dict[str, str]) -> None:
    sys.stdout.write(orjson.dumps({"ready": urls}).decode() + "\n")
    sys.stdout.flush()


def _token(path: Path | None) -> str:
    return path.read_text().strip() if path else ""


def _port(text: str) -> tuple[str, int]:
    name, found, port = text.partition("=")
    if not found or not port.isdigit() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"PROVIDER=PORT is needed, not {text!r}")
    return name, int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--profile",
        type=Path,
        default=DEMO_PROFILE,
        help="YAML or JSON file; the demo's by default",
    )
    parser.add_argument("--flags", type=Path, help="flag file; TOCSIN_FLAGS__PATH by default")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port",
        type=_port,
        action="append",
        default=[],
        metavar="PROVIDER=PORT",
        help="port of a provider; a free one by default; may be given several times",
    )
    parser.add_argument("--judge-port", type=int, help="start the stand-in judge; 0: free port")
    parser.add_argument(
        "--admin-token-file", type=Path, help="file with the token that opens /admin/faults"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
