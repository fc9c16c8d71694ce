"""Drive a rollout: look, decide, and set the flags, until it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import structlog

from serving.errors import FlagError, LooksError, RolloutDisturbedError
from serving.rollout.machine import Metric, Outcome, RolloutState, ended, observe
from serving.rollout.sequential import Look
from serving.rollout.steer import Steering

__all__ = ["Looks", "drive", "step"]

_BY: Final = "tocsin rollout"

_log = structlog.get_logger("tocsin.rollout")


class Looks(Protocol):
    """Tells how requests have done."""

    def look(self, version: str, since_us: int, until_us: int) -> Mapping[Metric, Look]:
        """Return the looks at requests that ended in a span of time.

        Raises:
            LooksError: nobody can say.
        """


def step(state: RolloutState, steering: Steering, looks: Looks, until_us: int) -> RolloutState:
    """Return a rollout after one look, with the flags set accordingly.

    When somebody else has ended it or changed a flag of it, by hand or as a remediation, the
    rollout is over, even if that happens during the look: nobody's decision is overwritten.

    Raises:
        LooksError: nobody can say how requests have done.
        FlagError, OSError: the flags could not be read or written.
        RolloutError: the rollout's file cannot be read.
    """
    if (over := _ended_elsewhere(state, steering)) is not None:
        return over
    who = steering.disturbed(state)
    if who is None:
        after = observe(state, looks.look(state.version, state.looked_at_us, until_us), until_us)
        try:
            steering.apply(after, by=_BY, now_us=until_us, before=state)
        except RolloutDisturbedError as error:
            who = str(error)
        else:
            return after
    if (over := _ended_elsewhere(state, steering)) is not None:
        return over
    after = ended(state, Outcome.ABORTED, who, until_us)
    steering.apply(after, by=_BY, now_us=until_us)
    return after


def drive(
    state: RolloutState,
    steering: Steering,
    looks: Looks,
    *,
    every_s: float,
    settle_s: float,
    now_us: Callable[[], int],
    told: Callable[[RolloutState], None],
    pause: Callable[[float], None] = time.sleep,
) -> RolloutState:
    """Drive a rollout until it is over.

    While the store does not answer, or the flags cannot be written, it stands still, says so, and
    tries again at the next look.

    Args:
        state: where it stands.
        steering: flags and file.
        looks: how requests have done.
        every_s: between two looks.
        settle_s: how long requests are given to reach the store.
        now_us: UTC microseconds.
        told: called with the state after each look, also one that could not be made.
        pause: waits for seconds.
    """
    while state.outcome is Outcome.RUNNING:
        pause(every_s)
        until_us = now_us() - round(settle_s * 1e6)
        if until_us <= state.looked_at_us:
            continue
        try:
            state = step(state, steering, looks, until_us)
        except (LooksError, FlagError, OSError) as error:
            _log.warning("the rollout waits", error=repr(error))
            state = _waiting(state, steering, str(error), until_us)
        told(state)
    return state


def _ended_elsewhere(state: RolloutState, steering: Steering) -> RolloutState | None:
    present = steering.read()
    if present is None or present.started_at_us != state.started_at_us:
        return None
    return None if present.outcome is Outcome.RUNNING else present


def _waiting(state: RolloutState, steering: Steering, why: str, now_us: int) -> RolloutState:
    """Return a rollout that stands still; one that somebody has ended meanwhile is over."""
    if (over := _ended_elsewhere(state, steering)) is not None:
        return over
    state = state.model_copy(update={"trouble": why})
    try:
        steering.apply(state, by=_BY, now_us=now_us, before=state)
    except (RolloutDisturbedError, FlagError, OSError) as error:
        _log.warning("that it waits could not be kept", error=repr(error))
    return state
