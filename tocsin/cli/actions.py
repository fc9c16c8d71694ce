"""``tocsin actions``: the kill switch of remediation."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from tocsin.cli.console import console, errors_told, settings_for_command

__all__ = ["actions"]

actions = typer.Typer(
    help="The kill switch: freeze and thaw remediation.\n\nExample: tocsin actions freeze 'audit'",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@actions.command("freeze")
def freeze_actions(
    reason: Annotated[str, typer.Argument(help="why, for those who find it frozen")],
) -> None:
    """Let no action be applied until `tocsin actions thaw`; alerts and pages go on.

    Example: tocsin actions freeze "database migration until 14:00"
    """
    from serving.actuators.freeze import freeze

    with errors_told():
        settings = settings_for_command()
        path = freeze(settings.data_dir, by=getpass.getuser(), reason=reason)
        console.print(f"frozen: {path}")


@actions.command("thaw")
def thaw_actions() -> None:
    """Let actions be applied again.

    Example: tocsin actions thaw
    """
    from serving.actuators.freeze import thaw

    with errors_told():
        settings = settings_for_command()
        console.print("thawed" if thaw(settings.data_dir) else "was not frozen")


@actions.command("status")
def status() -> None:
    """Tell whether actions are frozen, by whom and why.

    Example: tocsin actions status
    """
    from serving.actuators.freeze import frozen

    with errors_told():
        settings = settings_for_command()
        reason = frozen(settings.data_dir)
        console.print(f"frozen: {reason}" if reason else "not frozen", markup=False)
