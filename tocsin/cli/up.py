"""``tocsin up``: the embedded stack, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tocsin.cli.console import console, errors_told, settings_for_command

if TYPE_CHECKING:
    from tocsin.embedded.stack import Stack

__all__ = ["up"]


def up(
    data_dir: Annotated[Path, typer.Option(help="where everything is kept")] = Path(".tocsin"),
    kafka_port: Annotated[int, typer.Option(min=0, max=65_535, help="0: a free one")] = 9092,
    clickhouse_port: Annotated[int, typer.Option(min=0, max=65_535, help="0: a free one")] = 8123,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="of the first worker; 0: a free one")
    ] = 9464,
    api_port: Annotated[int, typer.Option(min=0, max=65_535, help="0: a free one")] = 9466,
    workers: Annotated[int, typer.Option(min=1, max=16)] = 1,
) -> None:
    """Run broker, store, workers, executor and API on this machine until Ctrl-C or SIGTERM.

    The broker keeps its log in memory, the store its rows in the data directory.

    Example: tocsin up --data-dir ~/tocsin --workers 2
    """
    from tocsin.embedded.stack import Stack, StackOptions

    with errors_told():
        settings = settings_for_command()
        options = StackOptions(
            data_dir, kafka_port, clickhouse_port, metrics_port, api_port, workers
        )
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        with Stack(settings, options, tell=console.print) as stack:
            console.print(_addresses(stack))
            console.print("Ctrl-C stops everything.", style="dim")
            while not stop.wait(1):
                stack.check()
            console.print("stopping")
        console.print("stopped")


def _addresses(stack: Stack) -> Table:
    settings = stack.settings
    table = Table(title="Tocsin is up", header_style="bold")
    table.add_column("part")
    table.add_column("address")
    table.add_row("Kafka protocol", settings.kafka.bootstrap)
    table.add_row(
        "ClickHouse HTTP", f"http://{settings.clickhouse.host}:{settings.clickhouse.port}"
    )
    for number, url in enumerate(stack.metrics_urls):
        table.add_row(f"metrics of worker {number}", url)
    table.add_row("API", stack.api_url)
    table.add_row("metrics of the executor", stack.executor_metrics_url)
    table.add_row("flags (flagd format)", str(settings.flags.path))
    table.add_row("logs", str(settings.data_dir / "logs"))
    return table
