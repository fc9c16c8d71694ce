"""What is killed when: all of it follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Blow", "plan"]

Kind = Literal["kill worker", "kill store", "stall worker"]

_STORE_SHARE: Final = 5
_EARLY, _LATE = 0.05, 0.95
_AT_ONCE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing done to the stack.

    Attributes:
        at_s: when, in seconds since the load began.
        kind: what.
        pick: which worker, as a number to take modulo those that are up.
        down_s: how long it stays away before it is started again (or goes on).
    """

    at_s: float
    kind: Kind
    pick: int
    down_s: float


def plan(
    seed: int, seconds: float, kills: int, stalls: int = 0, stall_s: tuple[float, float] = (4, 6)
) -> Sequence[Blow]:
    """Return blows spread over the load: every fifth kill is the store's, some follow at once.

    Args:
        seed: of all choices.
        seconds: how long the load lasts.
        kills: how many kill -9.
        stalls: how many times a worker is stopped and goes on (SIGSTOP, SIGCONT).
        stall_s: how long it is stopped: longer than the session timeout.
    """
    choose = random.Random(f"blows {seed}")
    kinds: list[Kind] = ["kill store"] * (kills // _STORE_SHARE)
    kinds += ["kill worker"] * (kills - len(kinds))
    kinds += ["stall worker"] * stalls
    choose.shuffle(kinds)
    step = (_LATE - _EARLY) * seconds / max(1, len(kinds))
    blows: list[Blow] = []
    for number, kind in enumerate(kinds):
        at_s = _EARLY * seconds + (number + choose.random()) * step
        if blows and choose.random() < _AT_ONCE:
            at_s = blows[-1].at_s + choose.uniform(0, 0.5)
        down_s = choose.uniform(*stall_s) if kind == "stall worker" else choose.uniform(0, 3)
        blows.append(Blow(at_s, kind, choose.randrange(1_000), down_s))
    return sorted(blows, key=lambda blow: blow.at_s)
