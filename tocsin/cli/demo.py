"""``tocsin demo``: the whole loop, once."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tocsin.cli.console import console, errors_told, settings_for_command

if TYPE_CHECKING:
    from tocsin.demo.run import Demo, DemoOutcome

__all__ = ["demo"]


def demo(
    speed: Annotated[float, typer.Option(min=1, max=40, help="of the trace")] = 8,
    time_scale: Annotated[float, typer.Option(min=1, max=60, help="of the rules' durations")] = 20,
    receiver_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="of the page; 0 takes a free one")
    ] = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="keep the data here (must be new or empty)")
    ] = None,
    hold: Annotated[bool, typer.Option("--hold", help="stay up at the end, until Ctrl-C")] = False,
) -> None:
    """Watch a bad model version ring the alarm and be rolled back, on this machine alone.

    16 minutes of a real production trace run through a Kafka-protocol broker and ClickHouse's
    engine; a promoted version goes wrong, then a provider. Exit code 0 only if every step
    happened and the store holds exactly one row for each request.

    Example: tocsin demo --hold
    """
    with errors_told():
        settings = settings_for_command()
        kept = data_dir is not None
        directory = data_dir or Path(tempfile.mkdtemp(prefix="tocsin-demo-"))
        if directory.is_dir() and any(directory.iterdir()):
            raise typer.BadParameter(f"{directory} is not empty", param_hint="--data-dir")
        # SIGTERM stops it as Ctrl-C does, with every process that it started.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        from tocsin.demo.run import Demo
        from tocsin.demo.scenario import Scenario

        scenario = Scenario(speed=speed, time_scale=time_scale)
        try:
            with Demo(
                settings,
                scenario,
                directory,
                receiver_port=receiver_port,
                tell=lambda text: console.print(text, style="dim", highlight=False),
            ) as running:
                ok = _run(running)
                if hold:
                    _hold(running)
        finally:
            if not kept and ok_to_remove(directory):
                shutil.rmtree(directory, ignore_errors=True)
    raise typer.Exit(0 if ok else 1)


def ok_to_remove(directory: Path) -> bool:
    """Tell whether a directory is one that this command made."""
    return directory.name.startswith("tocsin-demo-")


def _run(running: Demo) -> bool:
    page = running.receiver.url
    console.print(f"what Slack and PagerDuty get: {page}", style="bold cyan")
    outcome: list[DemoOutcome] = []
    problem: list[BaseException] = []

    def play() -> None:
        try:
            outcome.append(running.play())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
            problem.append(error)

    player = threading.Thread(target=play, name="demo", daemon=True)
    player.start()
    try:
        _show(running, player)
    except KeyboardInterrupt:
        console.print("stopping")
        running.stop()
        player.join(timeout=20)
        raise typer.Exit(130) from None
    if problem:
        raise problem[0]
    _close(running, outcome[0])
    return outcome[0].ok


def _show(running: Demo, player: threading.Thread) -> None:
    from rich.live import Live

    from tocsin.demo.view import live

    page = running.receiver.url
    if console.is_terminal:
        with Live(live(running.progress, page), console=console, refresh_per_second=4) as view:
            while player.is_alive():
                view.update(live(running.progress, page))
                time.sleep(0.25)
    else:
        _tell_lines(running, player)


def _tell_lines(running: Demo, player: threading.Thread) -> None:
    told = ""
    progress = running.progress
    while player.is_alive():
        line = f"{progress.doing}: {progress.sent}/{progress.total} sent, {progress.rows} rows"
        if progress.doing and line != told:
            console.print(line, highlight=False)
            told = line
        player.join(timeout=5)


def _close(running: Demo, outcome: DemoOutcome) -> None:
    from tocsin.demo.analysts import QUESTIONS
    from tocsin.demo.view import closing_checks, question_table, timeline_table

    console.rule("what happened")
    console.print(timeline_table(outcome.moments))
    console.rule("three questions to the store")
    for question in QUESTIONS:
        result = running.client.query(question.sql)
        console.print(question_table(question.text, result.column_names, result.result_rows))
    console.rule("checks")
    closing_checks(console, outcome.checks)
    if outcome.ok:
        console.print("The bell rang, the rollback held, nothing was lost.", style="bold green")
    else:
        console.print("Not every step held.", style="bold red")


def _hold(running: Demo) -> None:
    console.print(f"Everything is still up; the page: {running.receiver.url}. Ctrl-C ends it.")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("stopping")
