"""``tocsin doctor``: check what Tocsin stands on."""

from __future__ import annotations

import typer
from rich.text import Text

from tocsin.cli.console import console, errors_told, libraries_silent, settings_for_command

__all__ = ["doctor"]


def doctor() -> None:
    """Check rules, prices, broker, topics, store, schema version and clock; exit 1 on a fault.

    Example: tocsin doctor
    """
    from tocsin.doctor import examine

    with errors_told(), libraries_silent():
        settings = settings_for_command()
        findings = examine(settings)
    for finding in findings:
        mark = Text("ok  ", "green") if finding.well else Text("FAIL", "bold red")
        console.print(mark, Text(f"{finding.name}: {finding.said}"))
        if not finding.well:
            console.print(Text(f"     do: {finding.advice}", "yellow"))
    if not all(finding.well for finding in findings):
        raise typer.Exit(1)
