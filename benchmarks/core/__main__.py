"""``python -m benchmarks.core``: measure, print a table, then one line of JSON."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import structlog

from benchmarks.core.aims import aims, ratios
from benchmarks.core.document import DOCUMENT, document
from benchmarks.core.errors import BenchmarkError
from benchmarks.core.latency import WARM_UP_S, measure_latency
from benchmarks.core.machine import machine, versions
from benchmarks.core.options import Options, parse
from benchmarks.core.preload import preload
from benchmarks.core.rig import running_broker
from benchmarks.core.scale import measure_scale
from benchmarks.core.soak import measure_soak
from benchmarks.core.table import render
from benchmarks.core.throughput import measure_throughput
from benchmarks.core.workload import Workload, base_time
from schemas.errors import TocsinError


def tell(text: str) -> None:
    """Say how far it is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def measure(options: Options) -> dict[str, Any]:
    """Return the report of all that was asked for."""
    report: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": machine(),
        "settings": {
            "events": options.events,
            "rounds": options.rounds,
            "broker": options.broker,
            "contenders": [contender.name for contender in options.contenders],
        },
    }
    for name, part in _parts(options):
        try:
            part(report)
        except (BenchmarkError, TocsinError, TimeoutError) as error:
            tell(f"{name} failed: {error}")
            report.setdefault("failed", {})[name] = str(error)
    report["versions"] = versions(options.contenders)
    report["aims"] = aims(report)
    return report


def _parts(options: Options) -> Iterator[tuple[str, Callable[[dict[str, Any]], None]]]:
    """Yield what is measured, each by a name; a part adds its figures to the report."""
    if options.throughput or options.scale:
        yield "backlog", partial(_over_a_backlog, options)
    for rate, seconds in options.latency:
        yield f"latency at {rate:g}", partial(_latency, options.broker, rate, seconds)
    if options.soak_s:
        yield "soak", partial(_soak, options.broker, options.soak_s)


def _over_a_backlog(options: Options, report: dict[str, Any]) -> None:
    with running_broker(options.broker) as broker:
        start_us = base_time(time.time_ns() // 1_000, options.events)
        backlog = asyncio.run(preload(broker.kafka, Workload(options.events, start_us)))
        tell(f"{backlog.events:,} events are waiting")
        if options.throughput:
            found = measure_throughput(broker, backlog, options.contenders, options.rounds, tell)
            report["throughput"] = found.as_dict()
            report["ratios"] = ratios(found)
        if options.scale:
            report["scale"] = measure_scale(broker, backlog, options.rounds, tell)


def _latency(broker: str, rate: float, seconds: float, report: dict[str, Any]) -> None:
    report.setdefault("latency", []).append(measure_latency(broker, rate, seconds, tell))


def _soak(broker: str, seconds: float, report: dict[str, Any]) -> None:
    report["soak"] = measure_soak(broker, seconds, tell)


def main() -> None:
    """Run the benchmark; it fails when Tocsin does, or counts wrongly."""
    options = parse()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    report = measure(options)
    if options.write_docs and "failed" not in report:
        DOCUMENT.write_text(document(report, WARM_UP_S))
        tell(f"written: {DOCUMENT}")
    sys.stdout.write(f"{render(report)}\n\n{json.dumps(report)}\n")
    sys.stdout.flush()
    if "failed" in report:
        sys.exit(1)


if __name__ == "__main__":
    main()
