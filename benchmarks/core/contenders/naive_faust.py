"""Faust as its tutorial shows it: ``faust.Record``, a Table write an event, one event a record.

Everything stays at Faust's defaults but what the embedded broker needs to let it join soon.
Quantiles come from a histogram by powers of two, which is less than the work of the others.
"""

from __future__ import annotations

import math
import os
import signal
from decimal import Decimal
from typing import Any, Protocol

import faust

from benchmarks.core.contenders.script import Task, report, task
from benchmarks.core.first import call_on_first_records
from benchmarks.core.meter import Meter
from schemas.pricing import load_price_book

WINDOW_US = 10_000_000


class Request(faust.Record, serializer="json"):  # type: ignore[misc, call-arg]
    """The fields that the windows need; Faust ignores the others."""

    end_time_us: int
    model: str
    model_version: str
    provider: str
    status_code: int
    e2e_s: float
    error_type: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    ttft_s: float | None = None


class Totals(faust.Record, serializer="json"):  # type: ignore[misc, call-arg]
    """One window of one model and version."""

    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    ttft: dict[str, int]
    e2e: dict[str, int]


class Rows(Protocol):
    """What takes rows beside the windows."""

    async def add(self, request: Any, cost: Decimal | None, rejected: bool) -> None:
        """Take one request."""

    async def insert(self) -> None:
        """Write what was taken and is not written."""


def nothing() -> Totals:
    """Return an empty window."""
    return Totals(0, 0, 0, 0, 0.0, {}, {})


def main(given: Task, kind: type[Request] = Request, rows: Rows | None = None) -> None:
    """Run the worker until it has seen every event.

    Args:
        given: what to read.
        kind: the class of the records.
        rows: takes each request and its cost as well.
    """
    prices = load_price_book()
    meter = Meter()
    app = faust.App(
        given.group,
        broker=f"kafka://{given.bootstrap}",
        store="memory://",
        web_enabled=False,
        topic_partitions=4,
        topic_disable_leader=True,
        broker_session_timeout=6,
        broker_heartbeat_interval=0.5,
        consumer_auto_offset_reset="earliest",
    )
    requests = app.topic(given.topic, value_type=kind)
    windows = app.Table("windows", default=nothing, key_type=str, value_type=Totals)
    seen = 0

    @app.agent(requests)  # type: ignore[untyped-decorator]
    async def count(stream: Any) -> None:
        nonlocal seen
        async for request in stream:
            start_us = request.end_time_us // WINDOW_US * WINDOW_US
            key = f"{request.model}:{request.model_version}:{start_us}"
            totals = windows[key]
            totals.requests += 1
            rejected = 400 <= request.status_code < 500
            totals.errors += request.error_type is not None and not rejected
            totals.input_tokens += request.input_tokens or 0
            totals.output_tokens += request.output_tokens or 0
            price = None if rejected else prices.find(request.provider, request.model)
            cost = price.cost(request.input_tokens, None, request.output_tokens) if price else None
            totals.cost_usd += float(cost or 0)
            tally(totals.e2e, request.e2e_s)
            if request.ttft_s is not None:
                tally(totals.ttft, request.ttft_s)
            windows[key] = totals
            if rows is not None:
                await rows.add(request, cost, rejected)
            seen += 1
            if seen == given.events:
                if rows is not None:
                    await rows.insert()
                finish(meter, windows, given)
                os.kill(os.getpid(), signal.SIGTERM)

    call_on_first_records(given.topic, meter.start)
    faust.Worker(
        app, loglevel="WARNING", quiet=True, redirect_stdouts=False
    ).execute_from_commandline()


def tally(histogram: dict[str, int], value: float) -> None:
    """Count a value in its power of two."""
    bucket = str(math.frexp(value)[1])
    histogram[bucket] = histogram.get(bucket, 0) + 1


def finish(meter: Meter, windows: Any, given: Task) -> None:
    """Report what the table holds."""
    figures = meter.stop()
    names = ("requests", "errors", "input_tokens", "output_tokens")
    every = list(windows.values())
    totals = {name: sum(getattr(window, name) for window in every) for name in names}
    totals["cost_nano_usd"] = round(sum(window.cost_usd for window in every) * 1e9)
    report(figures, given.events, totals)


if __name__ == "__main__":
    main(task(__doc__))
