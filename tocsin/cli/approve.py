"""``tocsin approve`` and ``tocsin reject``: the word that an action waits for."""

from __future__ import annotations

import getpass
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import TocsinError
from tocsin.cli.console import console, errors_told, settings_for_command

if TYPE_CHECKING:
    from tocsin.api.client import ApiClient

__all__ = ["DecisionError", "approve", "reject"]

Action = Annotated[
    str, typer.Argument(help="the action's id, or its incident's, as `tocsin alerts` shows them")
]
Author = Annotated[str, typer.Option(help="who decides; the user of this machine without")]
Wait = Annotated[float, typer.Option(help="seconds to wait for what becomes of it", min=0)]

_LOOK_S = 0.5


class DecisionError(TocsinError):
    """There is nothing to decide on, or the decision did nothing."""


def approve(
    action: Action,
    reason: Annotated[str, typer.Option(help="for those who look later")] = "approved",
    author: Author = "",
    wait: Wait = 10.0,
) -> None:
    """Let an action that waits for approval be taken, exactly as it is shown, once.

    Example: tocsin approve 3f9ac2d1b0c4e5f60718-1795000006000000:rollback --reason "checked"
    """
    _decide(action, reason, author, wait, yes=True)


def reject(
    action: Action,
    reason: Annotated[str, typer.Option(help="for those who look later")] = "rejected",
    author: Author = "",
    wait: Wait = 10.0,
) -> None:
    """Keep an action that waits for approval from being taken; the ladder goes on.

    Example: tocsin reject 3f9ac2d1b0c4e5f60718-1795000006000000:rollback --reason "a load test"
    """
    _decide(action, reason, author, wait, yes=False)


def _decide(action: str, reason: str, author: str, wait_s: float, *, yes: bool) -> None:
    from tocsin.api.client import ApiClient

    with errors_told():
        settings = settings_for_command()
        with ApiClient(settings.api) as client:
            proposal = _proposal(client, action)
            console.print(f"{proposal['action_id']}: {proposal['does']}", markup=False)
            console.print(f"taken back by: {proposal['taken_back_by']}", markup=False)
            body = {
                "incident_id": proposal["incident_id"],
                "action_id": proposal["action_id"],
                "proposal": proposal["proposal"],
                "approve": yes,
                "reason": reason,
                "author": author or getpass.getuser(),
            }
            command_id = client.post("/v1/decisions", body)["command_id"]
            _tell(client, proposal["action_id"], command_id, wait_s)


def _proposal(client: ApiClient, action: str) -> dict[str, Any]:
    """Return what an id names: the proposal of an action, or the one that an incident has waiting.

    Raises:
        DecisionError: nothing waits under that name, or several actions do.
    """
    known = client.get("/v1/approvals", all="true")["approvals"]
    named = [one for one in known if action in (one["action_id"], one["incident_id"])]
    waiting = [one for one in named if one["state"] == "waiting"]
    if len(waiting) == 1:
        found: dict[str, Any] = waiting[0]
        return found
    if waiting:
        ids = ", ".join(one["action_id"] for one in waiting)
        raise DecisionError(f"{action}: several actions wait; name one of {ids}")
    if named:
        word = named[0]["decided"] or {"by": "", "reason": ""}
        by = f" by {word['by']}: {word['reason']}" if word["by"] else ""
        raise DecisionError(f"{named[0]['action_id']} waits no more: {named[0]['state']}{by}")
    raise DecisionError(f"no action {action!r} waits for approval; `tocsin alerts` shows what does")


def _tell(client: ApiClient, action_id: str, command_id: str, wait_s: float) -> None:
    """Print what became of a decision once the store knows.

    Raises:
        DecisionError: it did nothing; says why.
    """
    until = time.monotonic() + wait_s
    while True:
        known = client.get("/v1/approvals", all="true", action=action_id)["approvals"]
        for one in known:
            word = one["decided"]
            if word is not None and word["command_id"] == command_id:
                console.print(f"{one['state']} by {word['by']}", markup=False)
                return
            for word in one["ignored"]:
                if word["command_id"] == command_id:
                    raise DecisionError(f"nothing was done: {word['reason']}")
        if time.monotonic() >= until:
            console.print("sent; `tocsin alerts` shows what becomes of it", markup=False)
            return
        time.sleep(_LOOK_S)
