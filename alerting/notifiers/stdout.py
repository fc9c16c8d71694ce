"""Pages on standard output: for a first look, and for a log collector."""

from __future__ import annotations

from rich.console import Console, Group
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from alerting.intent import NotificationIntent, NotifyEvent
from alerting.notifiers.base import Receipt, is_stale
from alerting.notifiers.text import (
    approval_text,
    clock,
    figures,
    headline,
    plan_lines,
    shares_text,
)
from schemas.alert import Severity

__all__ = ["StdoutNotifier"]

_COLOURS = {
    Severity.INFO: "blue",
    Severity.WARNING: "yellow",
    Severity.ERROR: "red",
    Severity.CRITICAL: "bold red",
}


class StdoutNotifier:
    """Writes a whole page when an incident begins, ends or asks, and a line for other news."""

    name = "stdout"

    def __init__(self, console: Console | None = None) -> None:
        self._console = console if console is not None else Console(highlight=False)

    async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
        """Write the page or the news."""
        if is_stale(intent, receipt) and receipt is not None:
            return receipt
        colour = "green" if intent.event is NotifyEvent.RESOLVE else _COLOURS[intent.severity]
        asks = intent.loud and intent.approval is not None
        if receipt is None or asks or intent.event is not NotifyEvent.UPDATE:
            self._console.print(_page(intent, colour))
        else:
            for news in intent.news:
                line = Text(f"{clock(intent.at_us)} {headline(intent)} | ", style=colour)
                self._console.print(line.append(news, style="default"))
        return {"revision": intent.revision}

    async def aclose(self) -> None:
        """Do nothing: standard output stays open."""


def _page(intent: NotificationIntent, colour: str) -> Panel:
    grid = Table.grid(padding=(0, 2))
    for name, value in figures(intent):
        grid.add_row(Text(name, style="dim"), Text(value))
    parts: list[Text | Table | Syntax] = []
    if intent.description is not None:
        parts.append(Text(intent.description))
    parts.append(grid)
    if intent.shares:
        parts.append(Text("carried by\n" + shares_text(intent)))
    if intent.group is not None and intent.group.examples:
        parts.append(Text("\n".join(intent.group.examples)))
    if intent.advice is not None:
        parts.append(Text(f"do: {intent.advice}", style="bold"))
    if intent.approval is not None:
        parts.append(Text("waits for approval: " + approval_text(intent), style="bold"))
    parts += [Text(f"{clock(note.at_us)} {note.text}") for note in intent.history]
    parts += [Text(line, style="dim") for line in plan_lines(intent)]
    parts.append(Syntax(intent.sql, "sql", word_wrap=True, background_color="default"))
    parts.append(Text(f"runbook {intent.runbook}   incident {intent.incident_id}", style="dim"))
    return Panel(
        Group(*parts), title=Text(headline(intent), style=colour), title_align="left", style=colour
    )
