"""``tocsin rules backtest``: what rules would have done."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tocsin.cli.console import console, errors_told, libraries_silent, settings_for_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tocsin.backtest.episodes import Episode
    from tocsin.backtest.run import Outcome

__all__ = ["backtest"]


def backtest(
    since: Annotated[str, typer.Option("--from", help="2026-11-20T14:00 (UTC), or -7d")] = "-7d",
    until: Annotated[str, typer.Option("--to", help="likewise, or now")] = "now",
    file: Annotated[
        Path | None, typer.Option("--rules", help="rules to try instead of those in force")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="draw the page of a plot here")] = None,
) -> None:
    """Tell which alerts and actions rules would have come to, over what the store holds.

    With --rules also how that differs from the rules in force. The steps are the worker's own;
    nobody is told and nothing is done.

    Example: tocsin rules backtest --from -7d --rules my-rules.yaml --out backtest.html
    """
    from alerting.rules import load_rules
    from schemas.clickhouse.migrate import store_client
    from tocsin.backtest.columns import BacktestError
    from tocsin.backtest.episodes import compare
    from tocsin.backtest.moment import parse_moment
    from tocsin.backtest.plot import page
    from tocsin.backtest.run import Span
    from tocsin.backtest.run import backtest as run

    now_us = time.time_ns() // 1_000
    try:
        span = Span(parse_moment(since, now_us), parse_moment(until, now_us))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--from, --to") from None
    if span.until_us <= span.since_us:
        raise typer.BadParameter("--to must be later than --from", param_hint="--to")
    with errors_told(), libraries_silent():
        settings = settings_for_command()
        in_force = load_rules(settings.alerting.rules)
        tried = load_rules(file) if file is not None else in_force
        try:
            client = store_client(settings.clickhouse, settings.clickhouse.database)
        except Exception as error:
            where = f"{settings.clickhouse.host}:{settings.clickhouse.port}"
            raise BacktestError(f"no store answers at {where}: {str(error)[:200]}") from error
        with client:
            outcome = run(client, tried, settings, span)
            before = run(client, in_force, settings, span) if file is not None else outcome
    _tell(outcome, "rules tried" if file is not None else "rules in force")
    if file is not None:
        gone, new = compare(before.episodes, outcome.episodes)
        _differences(gone, new)
    if out is not None:
        notes = [f"Not tried: {rule}: {why}." for rule, why in outcome.untried.items()]
        title = f"Backtest of {file or 'the rules in force'}"
        lower = before.episodes if file is not None else []
        html = page(title, span.since_us, span.until_us, outcome.episodes, lower, notes)
        out.write_text(html, encoding="utf-8")
        console.print(f"drawn: {out}", markup=False)


def _tell(outcome: Outcome, what: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("fired", "resolved", "rule", "series", "steps", header_style="bold", title=what)
    for episode in outcome.episodes:
        table.add_row(*(Text(cell) for cell in _cells(episode)))
    console.print(table)
    acts = sum(len(episode.acts) for episode in outcome.episodes)
    console.print(
        f"{len(outcome.episodes)} incidents, {acts} actions; {outcome.series} series, "
        f"{outcome.windows} values, {outcome.steps} steps in {outcome.seconds:.1f} s",
        style="dim",
    )
    for rule, why in outcome.untried.items():
        console.print(f"not tried: {rule}: {why}", style="yellow", markup=False, soft_wrap=True)


def _differences(gone: Sequence[Episode], new: Sequence[Episode]) -> None:
    console.print("compared with the rules in force:")
    for episode in new:
        console.print(
            f"+ {' | '.join(_cells(episode))}", style="green", markup=False, soft_wrap=True
        )
    for episode in gone:
        console.print(f"- {' | '.join(_cells(episode))}", style="red", markup=False, soft_wrap=True)
    if not gone and not new:
        console.print("the same incidents")


def _cells(episode: Episode) -> tuple[str, ...]:
    from tocsin.backtest.plot import moment_of

    ended = moment_of(episode.resolved_us) if episode.resolved_us is not None else "open"
    steps = ", ".join(f"{deed.step} {moment_of(deed.at_us)[11:]}" for deed in episode.deeds)
    return moment_of(episode.fired_us), ended, episode.rule, episode.series, steps
