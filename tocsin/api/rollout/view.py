"""A rollout as it is shown, gathered from its files: what stands, what was, what is in doubt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schemas.clock import Clock
from serving.errors import FlagError, RolloutError
from serving.rollout.machine import Outcome, RolloutState
from serving.rollout.outlook import comparisons, lag_of, outlook
from serving.rollout.steer import Steering
from tocsin.api.rollout.span import clock as clock_text

__all__ = ["Rollouts", "View", "as_json"]


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show at a moment.

    ``state`` is the rollout that is looked at, ``doubts`` what one should know about it,
    ``unknown`` why nothing can be said at all.
    """

    now_us: int
    state: RolloutState | None = None
    latest: bool = True
    others: tuple[RolloutState, ...] = ()
    doubts: tuple[str, ...] = ()
    unknown: str = ""

    @property
    def running(self) -> bool:
        """Tell whether the rollout shown is under way."""
        return self.state is not None and self.state.outcome is Outcome.RUNNING


@dataclass(frozen=True, slots=True)
class Rollouts:
    """The rollouts beside a flag file."""

    steering: Steering
    clock: Clock = field(repr=False)

    def view(self, started_us: int | None = None) -> View:
        """Return the rollout that began at a moment, or the latest, if there is one."""
        now_us = self.clock()
        try:
            latest = self.steering.read()
        except RolloutError as error:
            return View(now_us, unknown=str(error), others=tuple(self.steering.past()))
        past = self.steering.past()
        if latest is None and not self.steering.store.path.exists():
            path = self.steering.store.path
            return View(
                now_us,
                unknown=f"There is no flag file at {path} on this machine, so whether a version is "
                "being rolled out is not known here. TOCSIN_FLAGS__PATH names the gateway's file.",
            )
        every = [state for state in (latest, *past) if state is not None]
        if started_us is None:
            shown = latest
        else:
            shown = next((state for state in every if state.started_at_us == started_us), None)
        return View(
            now_us,
            state=shown,
            latest=shown is latest,
            others=tuple(state for state in every if state is not shown),
            doubts=tuple(self._doubts(shown, now_us)) if shown is latest else (),
        )

    def _doubts(self, state: RolloutState | None, now_us: int) -> list[str]:
        if state is None or state.outcome is not Outcome.RUNNING:
            return []
        found = []
        if (lag := lag_of(state, now_us, self.steering.driven())) is not None:
            found.append(lag)
        try:
            changed = self.steering.disturbed(state)
        except FlagError as error:
            found.append(f"Which share is in force is not known: {error}")
        else:
            if changed is not None:
                found.append(f"{changed}. The rollout ends at its next look.")
        return found


def as_json(view: View) -> dict[str, Any]:
    """Return a view for programs; what is unknown is null."""
    state = view.state
    if state is None:
        return {"rollout": None}
    ahead = outlook(state, view.now_us)
    return {
        "rollout": {
            "version": state.version,
            "previous": state.previous,
            "outcome": state.outcome,
            "step": state.share,
            "reason": state.reason,
            "started_at": _text(state.started_at_us),
            "looked_at": _text(state.looked_at_us),
            "ended_at": None if state.ended_at_us is None else _text(state.ended_at_us),
            "doubts": list(view.doubts),
            "next": None
            if ahead is None
            else {
                "step": ahead.following,
                "seconds": round(ahead.seconds, 1),
                "seconds_needed": ahead.seconds_needed,
                "requests": ahead.requests,
                "requests_needed": ahead.requests_needed,
                "held_by": ahead.held_by,
                "eta_s": None if ahead.eta_s is None else round(ahead.eta_s),
            },
            "metrics": {
                one.metric: {
                    "verdict": one.verdict,
                    "evidence": one.evidence,
                    **(one.standing._asdict() if one.standing else {}),
                }
                for one in comparisons(state)
            },
        }
    }


def _text(at_us: int) -> str:
    return clock_text(at_us, day=True).replace(" ", "T") + "Z"
