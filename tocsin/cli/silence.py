"""``tocsin silence``: mute people's channels for a while; remediation goes on."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from tocsin.cli.console import console, errors_told, settings_for_command

__all__ = ["silence"]

silence = typer.Typer(
    help="Mute alerts for a while.\n\nExample: tocsin silence add model=llama --reason ...",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Author = Annotated[str, typer.Option(help="who asks; the user of this machine without")]


@silence.command("add")
def add(
    matchers: Annotated[
        list[str], typer.Argument(help="all must hold: model=llama, plan!=free, route=~a|b")
    ],
    reason: Annotated[str, typer.Option(help="why, for those who find it quiet")],
    duration: Annotated[str, typer.Option("--for", help="such as 30m, 2h or 1d")] = "1h",
    actions: Annotated[
        bool, typer.Option("--actions", help="let no action act on these alerts either")
    ] = False,
    author: Author = "",
) -> None:
    """Mute people's channels for the alerts that fulfil all matchers.

    Matchers know the labels of a series, and `rule` and `severity`. What is muted is recorded, and
    remediation goes on unless --actions.

    Example: tocsin silence add rule=error-rate model=llama --for 2h --reason "load test"
    """
    from tocsin.api.client import ApiClient

    body: dict[str, Any] = {
        "matchers": matchers,
        "duration": duration,
        "reason": reason,
        "author": author or getpass.getuser(),
        "mutes_actions": actions,
    }
    with errors_told():
        settings = settings_for_command()
        with ApiClient(settings.api) as client:
            made = client.post("/v1/silences", body)
        console.print(f"silenced for {duration}: {made['silence_id']}", markup=False)


@silence.command("list")
def list_silences(
    every: Annotated[
        bool, typer.Option("--all", help="those of 30 days that are over, too")
    ] = False,
) -> None:
    """List the silences in force and to come.

    Example: tocsin silence list
    """
    from tocsin.api.client import ApiClient

    with errors_told():
        settings = settings_for_command()
        with ApiClient(settings.api) as client:
            found = client.get("/v1/silences", all="true" if every else "false")["silences"]
        table = Table(
            "silence", "matchers", "state", "ends", "by", "reason", "actions", header_style="bold"
        )
        for one in found:
            cells = (
                one["silence_id"],
                "\n".join(one["matchers"]),
                one["state"],
                one["ends_at"],
                one["by"],
                one["reason"],
                "muted" if one["mutes_actions"] else "go on",
            )
            table.add_row(*(Text(str(cell)) for cell in cells))
        console.print(table)
        console.print(f"{len(found)} silences", style="dim")


@silence.command("expire")
def expire(
    silence_id: Annotated[str, typer.Argument(help="as `tocsin silence list` shows it")],
    reason: Annotated[str, typer.Option(help="why")] = "not needed any more",
    author: Author = "",
) -> None:
    """End a silence now; what fires still is told at once.

    Example: tocsin silence expire s-0123456789ab
    """
    from tocsin.api.client import ApiClient

    body = {"reason": reason, "author": author or getpass.getuser()}
    with errors_told():
        settings = settings_for_command()
        with ApiClient(settings.api) as client:
            client.post(f"/v1/silences/{silence_id}/expire", body)
        console.print(f"{silence_id} is over", markup=False)
