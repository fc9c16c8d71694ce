"""``tocsin replay``: send a trace or recorded events once more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tocsin.cli.console import console, errors_told, settings_for_command

if TYPE_CHECKING:
    from schemas.settings import Settings

__all__ = ["replay"]


def replay(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="a trace or recorded events")
    ],
    speed: Annotated[float, typer.Option(min=0.01, max=10_000, help="times as fast")] = 1,
    target: Annotated[
        str, typer.Option(help="base URL (.../v1) to send a trace's requests to")
    ] = "",
    model: Annotated[str, typer.Option(help="the model that a trace's requests ask for")] = (
        "llama-3.1-70b"
    ),
) -> None:
    """Send recorded events, or a trace of arrivals as new requests, at a chosen speed.

    Recorded events (JSON lines of RequestEvent) go to Kafka as if they ended now. A trace (Azure
    CSV, Mooncake JSON lines) becomes requests to --target, or to a simulated fleet.

    Example: tocsin replay trace.csv --speed 10
    """
    with errors_told():
        settings = settings_for_command()
        asyncio.run(_replay(settings, file, speed, target, model))


async def _replay(settings: Settings, file: Path, speed: float, target: str, model: str) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from schemas.clock import system_clock
    from tocsin.replay.recorded import looks_recorded, read_events, send_events
    from tocsin.replay.requests import send_requests
    from tocsin.replay.traces import read_trace

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        if looks_recorded(file):
            events = read_events(file)
            task = bar.add_task("events", total=len(events))
            async for sent in send_events(events, settings.kafka, system_clock, speed=speed):
                bar.update(task, completed=sent)
            return
        arrivals = read_trace(file)
        task = bar.add_task("requests", total=len(arrivals))
        counts = None
        async for counts in send_requests(
            arrivals, settings, system_clock, speed=speed, model=model, target=target
        ):
            bar.update(task, completed=counts.sent)
    if counts is not None:
        console.print(
            f"{counts.ok} ok, {counts.failed} failed, {counts.rejected} rejected, "
            f"{counts.aborted} aborted, {counts.unreached} never reached a server"
        )
