"""``tocsin alerts`` and ``tocsin ack``: what fires, what waits, and who looks after it."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from tocsin.cli.console import console, errors_told, settings_for_command

__all__ = ["ack", "alerts"]


def alerts(
    every: Annotated[bool, typer.Option("--all", help="resolved ones of 30 days, too")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="as the API answers")] = False,
) -> None:
    """List the open alerts, the latest changed first, with who looks after them and what waits.

    An action that waits for approval is named under its alert, with what it would do and until
    when; `tocsin approve` and `tocsin reject` take its id.

    Example: tocsin alerts
    """
    import orjson

    from tocsin.api.client import ApiClient

    with errors_told():
        settings = settings_for_command()
        with ApiClient(settings.api) as client:
            found = client.get("/v1/alerts", all="true" if every else "false")["alerts"]
        if as_json:
            typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
            return
        table = Table(
            "incident", "rule", "labels", "severity", "phase", "since", "", header_style="bold"
        )
        for alert in found:
            labels = ", ".join(f"{k}={v}" for k, v in sorted(alert["labels"].items()))
            cells = (
                alert["incident_id"],
                alert["rule"],
                labels,
                alert["severity"],
                alert["phase"],
                alert["firing_since"] or "",
                _notes(alert),
            )
            table.add_row(*(Text(str(cell)) for cell in cells))
        console.print(table)
        waiting = [one for alert in found for one in alert["waits_for_approval"]]
        for one in waiting:
            text = f"waits for approval until {one['expires_at']}: {one['does']}"
            console.print(Text(f"{one['action_id']} {text}", style="bold yellow"), soft_wrap=True)
        console.print(f"{len(found)} alerts, {len(waiting)} wait for approval", style="dim")


def _notes(alert: dict[str, Any]) -> str:
    notes = []
    if alert["acknowledged"]:
        notes.append(f"acknowledged by {alert['acknowledged']['by']}")
    if alert["silenced"]:
        notes.append(f"silenced by {alert['silenced']}")
    if alert["waits_for_approval"]:
        notes.append("waits for approval")
    return "; ".join(notes)


def ack(
    incident: Annotated[str, typer.Argument(help="the incident's id, as `tocsin alerts` shows it")],
    reason: Annotated[str, typer.Option(help="for those who look later")] = "looking at it",
    author: Annotated[str, typer.Option(help="who looks after it")] = "",
) -> None:
    """Say that you look after an incident: it bothers nobody else, and goes on being recorded.

    Example: tocsin ack 3f9ac2d1b0c4e5f60718-1795000006000000 --reason "rolling back by hand"
    """
    from tocsin.api.client import ApiClient

    with errors_told():
        settings = settings_for_command()
        body = {
            "incident_id": incident,
            "reason": reason,
            "author": author or getpass.getuser(),
        }
        with ApiClient(settings.api) as client:
            client.post("/v1/acks", body)
        console.print(f"acknowledged by {body['author']}", markup=False)
