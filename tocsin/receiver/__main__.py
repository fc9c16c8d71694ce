"""``python -m tocsin.receiver --port 8930``: a receiver alone, until Ctrl-C.

The token for pushes is made up and printed; ``RECEIVER_TOKEN`` in the environment sets it.
"""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from tocsin.receiver.errors import ReceiverStartError
from tocsin.receiver.process import Receiver

__all__ = ["main"]


def main(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free port")] = 8930,
) -> None:
    """Show what Slack and PagerDuty would get, on a page of this machine."""
    receiver = Receiver(port, token=os.environ.get("RECEIVER_TOKEN") or None)
    try:
        asyncio.run(_serve(receiver))
    except ReceiverStartError as error:
        typer.echo(f"{error}; choose another one with --port", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        pass


async def _serve(receiver: Receiver) -> None:
    receiver.on_listening = lambda: _tell(receiver)
    await receiver.serve()


def _tell(receiver: Receiver) -> None:
    typer.echo(f"page        {receiver.url}/")
    typer.echo(f"push token  {receiver.token}")
    typer.echo("point Tocsin at it with:")
    typer.echo(f"  TOCSIN_NOTIFY__SLACK_BASE_URL={receiver.slack_base_url}")
    typer.echo(f"  TOCSIN_NOTIFY__PAGERDUTY_BASE_URL={receiver.pagerduty_base_url}")


if __name__ == "__main__":
    typer.run(main)
