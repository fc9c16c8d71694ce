"""What a flag has been set to, and which of its variants have proven good."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from schemas.base import Micros, Name

__all__ = [
    "HISTORY_LIMIT",
    "Change",
    "ChangeKind",
    "History",
    "extend",
    "history_adapter",
    "last_good",
    "mark",
]

HISTORY_LIMIT: Final = 100
"""Changes of one flag that are kept, the newest."""


class ChangeKind(StrEnum):
    """Why a flag changed."""

    CREATED = "created"
    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    FALLBACK = "fallback"
    UNDO = "undo"


class Change(BaseModel):
    """One change of one flag.

    ``revision`` is the flag file's after the change. ``known_good`` is None until a later change
    tells: True when a promotion followed (the variant was in force and not rolled back), False when
    the variant was rolled back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: Name
    previous: str | None = None
    kind: ChangeKind
    revision: Annotated[int, Field(ge=0)]
    at_us: Micros
    by: Name
    reason: str
    action_id: str | None = None
    known_good: bool | None = None


History = tuple[Change, ...]

history_adapter: TypeAdapter[History] = TypeAdapter(History)


def extend(history: Sequence[Change], change: Change) -> History:
    """Return the history after `change`, with the mark that it puts on the one before.

    A promotion says that what was in force is good, unless it is known not to be; a rollback says
    that what was in force is bad, and that what it returns to is good; to undo a rollback takes its
    verdict back.
    """
    changes = list(history)
    if changes:
        last = changes[-1]
        if change.kind is ChangeKind.PROMOTION and last.known_good is None:
            changes[-1] = last.model_copy(update={"known_good": True})
        elif change.kind is ChangeKind.ROLLBACK:
            changes[-1] = last.model_copy(update={"known_good": False})
            change = change.model_copy(update={"known_good": True})
    return (*changes, change)[-HISTORY_LIMIT:]


def mark(history: Sequence[Change], variant: str, known_good: bool) -> History:
    """Return the history with the newest change to `variant` marked good or bad by a human."""
    changes = list(history)
    for place in range(len(changes) - 1, -1, -1):
        if changes[place].variant == variant:
            changes[place] = changes[place].model_copy(update={"known_good": known_good})
            break
    return tuple(changes)


def last_good(history: Sequence[Change]) -> str | None:
    """Return the variant to go back to: the newest good one that is not in force.

    For each variant its newest change counts, so a version that was rolled back once and did well
    later is good again, and the other way round.
    """
    if not history:
        return None
    seen = {history[-1].variant}
    for change in reversed(history):
        if change.variant not in seen:
            seen.add(change.variant)
            if change.known_good:
                return change.variant
    return None
