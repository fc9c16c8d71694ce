"""``tocsin rules``: look at rules before they are trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tocsin.cli.console import console, errors_told

__all__ = ["rules"]

rules = typer.Typer(
    help="Check alert rules.\n\nExample: tocsin rules check my-rules.yaml",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@rules.callback()
def _group() -> None:
    """Check alert rules."""


@rules.command("check")
def check(
    file: Annotated[
        Path | None, typer.Argument(help="a rules file; the shipped one without")
    ] = None,
) -> None:
    """Read a rules file and say what is wrong with it, by file, line and rule; exit 2 if so.

    Example: tocsin rules check my-rules.yaml
    """
    from alerting.rules import load_rules

    with errors_told():
        found = load_rules(file)
        for rule in found.rules:
            ladder = " -> ".join(step.name for step in rule.ladder)
            console.print(
                f"{rule.name}: {rule.signal.value} {rule.condition}  {ladder}", markup=False
            )
        console.print(f"{len(found.rules)} rules, all right", style="green")
