"""What a step that acts needs beside its time: samples, and that it is not left to people."""

from __future__ import annotations

from alerting.rules.model import Rule
from alerting.rules.step import IfExpired, Step
from alerting.state import AlertState, Outcome
from schemas.action import ActionMode

__all__ = ["least_samples", "left_to_people"]


def least_samples(rule: Rule, step: Step) -> int:
    """Return how many samples must stand behind the value for a step to act."""
    return max(rule.min_samples, step.min_samples or 0)


def left_to_people(rule: Rule, state: AlertState, step: Step) -> bool:
    """Tell whether a step may not act by itself: nobody decided, and the rule wants somebody to."""
    if step.act is None or step.approval is ActionMode.REQUIRED:
        return False
    expired = (rule.step_named(one.step) for one in state.taken if one.outcome is Outcome.EXPIRED)
    return any(one is not None and one.if_expired is IfExpired.PAGE for one in expired)
