"""Drive a rollout: look, decide, and set the flags, until it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from serving.rollout.machine import Metric, Outcome, RolloutPolicy, RolloutState, observe
from serving.rollout.sequential import Look
from serving.rollout.steer import Steering

__all__ = ["Looks", "drive", "step"]

_log = structlog.get_logger("tocsin.rollout")


class Looks(Protocol):
    """Tells how requests have done."""

    def look(self, version: str, since_us: int, until_us: int) -> Mapping[Metric, Look]:
        """Return the looks at requests that ended in a span of time."""


def step(
    state: RolloutState, steering: Steering, looks: Looks, policy: RolloutPolicy, until_us: int
) -> RolloutState:
    """Return a rollout after one look, with the flags set accordingly.

    When somebody else has changed a flag of it, by hand or as a remediation, the rollout is over:
    nobody's decision is overwritten.

    Raises:
        FlagError, OSError: the flags could not be read or written.
    """
    if (disturbance := steering.disturbed(state)) is not None:
        changes = {"outcome": Outcome.ABORTED, "reason": disturbance}
        after = state.model_copy(update=changes)
    else:
        found = looks.look(state.version, state.looked_at_us, until_us)
        after = observe(state, found, until_us, policy)
    steering.apply(after, by="tocsin rollout", now_us=until_us)
    return after


def drive(
    state: RolloutState,
    steering: Steering,
    looks: Looks,
    policy: RolloutPolicy,
    *,
    every_s: float,
    settle_s: float,
    now_us: Callable[[], int],
    told: Callable[[RolloutState], None],
    unreachable: tuple[type[Exception], ...],
    pause: Callable[[float], None] = time.sleep,
) -> RolloutState:
    """Drive a rollout until it is over; while the store is away it stands still.

    Args:
        state: where it stands.
        steering: flags and file.
        looks: how requests have done.
        policy: how careful it is.
        every_s: between two looks.
        settle_s: how long requests are given to reach the store.
        now_us: UTC microseconds.
        told: called with the state after each look.
        unreachable: what `looks` raises when it cannot answer.
        pause: waits for seconds.
    """
    while state.outcome is Outcome.RUNNING:
        pause(every_s)
        until_us = now_us() - round(settle_s * 1e6)
        if until_us <= state.looked_at_us:
            continue
        try:
            state = step(state, steering, looks, policy, until_us)
        except unreachable as error:
            _log.warning("the store does not answer; the rollout waits", error=repr(error))
            continue
        told(state)
    return state
