"""What the terminal shows while the demo runs, and at its end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tocsin.demo.checks import Check
from tocsin.demo.moments import MOMENTS, Moment

__all__ = ["Progress", "closing_checks", "live", "question_table", "timeline_table"]


@dataclass(slots=True)
class Progress:
    """What is known so far; the watcher writes it, the view reads it."""

    total: int = 0
    sent: int = 0
    answered: int = 0
    errors: int = 0
    aborted: int = 0
    rows: int = 0
    doing: str = ""
    moments: dict[str, int] = field(default_factory=dict)
    series: list[tuple[str, str, float, float | None, float | None]] = field(default_factory=list)
    """Provider, version, requests/s, error rate and P95 (s) of the last seconds."""


def live(progress: Progress, page: str) -> RenderableType:
    """Return the live view: progress, the last seconds by version, the steps so far."""
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(progress.doing, "bold"),
        ProgressBar(total=max(1, progress.total), completed=progress.sent, width=30),
        f"{progress.sent}/{progress.total} requests, {progress.rows} rows",
        Text(f"{progress.errors} errors, {progress.aborted} aborted", "dim"),
    )
    now = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("provider", "version", "requests/s", "errors", "P95"):
        now.add_column(name, justify="left" if name in {"provider", "version"} else "right")
    for provider, version, rate, errors, p95 in progress.series:
        color = "red" if (errors or 0) > 0.05 else "yellow" if (errors or 0) > 0.01 else "green"
        now.add_row(
            provider,
            version,
            f"{rate:.0f}",
            Text("unknown" if errors is None else f"{100 * errors:.1f} %", color),
            "unknown" if p95 is None else f"{p95:.2f} s",
        )
    return Group(
        head,
        Text(f"what Slack and PagerDuty get: {page}", "cyan"),
        Panel(now, title="the last seconds", title_align="left", border_style="dim"),
        timeline_table(progress.moments),
    )


def timeline_table(moments: Mapping[str, int], steps: Sequence[Moment] = MOMENTS) -> Table:
    """Return the steps that happened, in their order, with the seconds between them."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("time (UTC)")
    table.add_column("after", justify="right")
    table.add_column("step")
    table.add_column("by", style="dim")
    known = [(moments[moment.name], moment) for moment in steps if moment.name in moments]
    before_us: int | None = None
    for at_us, moment in known:
        after = "" if before_us is None else f"{(at_us - before_us) / 1e6:+.1f} s"
        table.add_row(_clock(at_us), after, _title(moment), moment.of)
        before_us = at_us
    return table


def question_table(
    text: str, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> RenderableType:
    """Return an analyst's question with its answer."""
    table = Table(*names, header_style="bold", box=None, padding=(0, 1))
    for row in rows:
        table.add_row(*(Text("unknown" if value is None else str(value)) for value in row))
    return Panel(table, title=text, title_align="left", border_style="dim")


def closing_checks(console: Console, checks: Sequence[Check]) -> None:
    """Print every check with what was found."""
    for check in checks:
        mark = Text("ok  ", "green") if check.ok else Text("FAIL", "bold red")
        console.print(Text.assemble(mark, f" {check.name}: ", (check.said, "dim")))


def _title(moment: Moment) -> Text:
    return Text(moment.title, "bold" if moment.of in {"notifiers", "executor"} else "")


def _clock(at_us: int) -> str:
    return dt.datetime.fromtimestamp(at_us / 1e6, dt.UTC).strftime("%H:%M:%S.%f")[:-5]
