"""Whether an applied action helped.

A signal looks back ``over`` seconds, so right after an action its value still holds samples from
before. An action is therefore judged only by signals whose whole lookback lies after the moment
it was applied; the rules file must allow for that (``verify_within`` > ``over``). The first such
value within the threshold is recovery. At the end of ``verify_within``:

- the last such value is bad: not recovered; the action is undone and people are paged;
- there is none, or it is unknown: it cannot be told; people are paged and nothing is undone,
  because taking a rollback back blindly is an action on missing data.

A rollback or fallback moves traffic to another version or provider, so the bad series ends. When
it has had no request at all for ``keep_firing_for`` since the action was applied, that counts as
recovery by removal, and the reason says so. A series that goes quiet without an applied action
stays as it is: its alert says that there is no data.
"""

from __future__ import annotations

from alerting.ladder import request_undo
from alerting.rules.duration import format_duration
from alerting.state import AlertState, Outcome, Verification
from alerting.turn import Turn
from schemas.action import ActionKind
from schemas.alert import AlertPhase

__all__ = ["MOVES_TRAFFIC", "moved_by", "removal", "verify_bad", "verify_good", "verify_unknown"]

MOVES_TRAFFIC = frozenset(
    {
        ActionKind.ROLLBACK,
        ActionKind.FALLBACK,
        ActionKind.CANARY_OFF,
        ActionKind.ROLLOUT_UNDO,
        ActionKind.UNLOAD_ADAPTER,
    }
)
"""The actions after which the bad series is expected to end."""


def _after(turn: Turn, trial: Verification) -> bool:
    return turn.now_us - round(turn.rule.over_s * 1e6) >= trial.since_us


def verify_bad(turn: Turn) -> None:
    """Judge the action on trial by a value that is known and bad."""
    trial = turn.state.verifying
    if trial is None:
        return
    if trial.verdict_us is not None:
        turn.set(verifying=None)
        turn.move(AlertPhase.ESCALATED, f"bad again after {trial.step} had helped", trial.step)
        turn.tell(f"bad again after {trial.step} had helped", loud=True)
        return
    if _after(turn, trial):
        turn.set(verifying=trial.model_copy(update={"failing": True}))
    if turn.now_us < trial.deadline_us:
        return
    within = format_duration((trial.deadline_us - trial.since_us) / 1e6)
    if not _after(turn, trial):
        _untold(turn, trial, f"no value from after the action within {within}")
        return
    record = turn.state.record_of(trial.step)
    reason = f"did not help within {within}"
    turn.judge(trial.action_id, False, reason)
    if record is not None:
        request_undo(turn, record, reason)
    turn.set(verifying=None)


def verify_good(turn: Turn) -> bool:
    """Judge the action on trial by a good value; tell whether it is on trial still."""
    trial = turn.state.verifying
    if trial is None or trial.verdict_us is not None:
        return False
    if _after(turn, trial):
        took = format_duration((turn.now_us - trial.since_us) / 1e6)
        reason = f"back within the threshold {took} after the action"
        turn.judge(trial.action_id, True, reason)
        turn.settle(trial.step, Outcome.RECOVERED, reason)
        turn.set(verifying=trial.model_copy(update={"verdict_us": turn.now_us, "failing": False}))
        turn.move(turn.state.phase, f"{trial.step}: {reason}", trial.step)
        turn.tell(f"{trial.step} helped: {reason}")
        return False
    if turn.now_us >= trial.deadline_us:
        _untold(turn, trial, "the time is over and the value still holds older samples")
        return False
    return True


def verify_unknown(turn: Turn) -> None:
    """Let the time of the action on trial run out when nothing can be told."""
    trial = turn.state.verifying
    if trial is None or trial.verdict_us is not None or turn.now_us < trial.deadline_us:
        return
    record = turn.state.record_of(trial.step)
    ending = turn.state.quiet_us is not None and record is not None and record.kind in MOVES_TRAFFIC
    if not ending:  # else the series is about to count as removed
        _untold(turn, trial, "too little data to tell whether it helped")


def _untold(turn: Turn, trial: Verification, why: str) -> None:
    turn.judge(trial.action_id, False, f"could not be told: {why}; the action stays in force")
    turn.settle(trial.step, Outcome.UNVERIFIED, why)
    turn.set(verifying=None)
    turn.move(AlertPhase.ESCALATED, f"{trial.step}: {why}", trial.step)
    turn.tell(f"{trial.step}: {why}; it stays in force, please look", loud=True)


def moved_by(state: AlertState) -> tuple[int, str] | None:
    """Return since when, and by which step, the series' traffic is moved away; None if by none."""
    moved = [
        (record.applied_us, record.step)
        for record in state.taken
        if record.kind in MOVES_TRAFFIC and record.in_force and record.applied_us is not None
    ]
    if state.relieved_us is not None:
        moved.append((state.relieved_us, "another incident's action"))
    return max(moved, default=None)


def removal(turn: Turn) -> str | None:
    """Return why the series counts as removed; None when it does not."""
    state = turn.state
    moved = moved_by(state)
    if moved is None or state.quiet_us is None:
        return None
    since_us, step = moved
    quiet_us = turn.now_us - max(since_us, state.quiet_us)
    if quiet_us <= 0 or quiet_us < round(turn.rule.keep_firing_for_s * 1e6):
        return None
    reason = (
        f"recovered by removal: no requests on this series for {format_duration(quiet_us / 1e6)} "
        f"since {step} was applied"
    )
    trial = state.verifying
    if trial is not None and trial.verdict_us is None:
        turn.judge(trial.action_id, True, reason)
        turn.settle(trial.step, Outcome.RECOVERED, reason)
    return reason
