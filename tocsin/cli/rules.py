"""``tocsin rules``: look at rules before they are trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tocsin.cli.backtest import backtest
from tocsin.cli.console import console, errors_told

__all__ = ["rules"]

rules = typer.Typer(
    help="Check, test, compare alert rules, try them.\n\nExample: tocsin rules check my-rules.yaml",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@rules.callback()
def _group() -> None:
    """Check, test, compare alert rules, and try them on history."""


rules.command("backtest")(backtest)


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


@rules.command("test")
def test(
    files: Annotated[list[Path], typer.Argument(help="files of tests, see docs/rule-tests.md")],
) -> None:
    """Run unit tests of rules: series of samples in, transitions out; exit 1 if one fails.

    Example: tocsin rules test my-rules.test.yaml
    """
    from alerting.rules.trial import load_cases, run_cases

    failed = 0
    with errors_told():
        for path in files:
            for trial in run_cases(*load_cases(path)):
                mark = "ok  " if trial.passed else "FAIL"
                console.print(f"{mark} {path}: {trial.name}", markup=False)
                for difference in trial.differences:
                    console.print(f"     {difference}", markup=False, soft_wrap=True)
                failed += not trial.passed
    if failed:
        raise typer.Exit(1)


@rules.command("diff")
def diff(
    old: Annotated[Path, typer.Argument(help="the rules before; - is the shipped file")],
    new: Annotated[Path, typer.Argument(help="the rules after; - is the shipped file")],
) -> None:
    """Say what differs between two rules files; exit 1 if anything does, 2 if one is wrong.

    Example: tocsin rules diff - my-rules.yaml
    """
    from alerting.rules import load_rules
    from alerting.rules.diff import diff_rules

    with errors_told():
        before, after = (load_rules(None if str(p) == "-" else p) for p in (old, new))
        lines = diff_rules(before, after)
        for line in lines:
            style = {"+": "green", "-": "red"}.get(line[0], "yellow")
            console.print(line, style=style, markup=False, soft_wrap=True)
        if lines:
            raise typer.Exit(1)
        console.print("no difference", style="green")
