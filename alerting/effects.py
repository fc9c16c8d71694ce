"""What a decision asks the world to do."""

from __future__ import annotations

from dataclasses import dataclass

from alerting.intent import NotificationIntent
from schemas.action import ActionRequested, ActionVerdict
from schemas.alert import AlertTransition

__all__ = ["Act", "Effect", "Judge", "Notify", "Transitioned"]


@dataclass(frozen=True, slots=True)
class Transitioned:
    """Tell ``llm.alerts`` that an alert changed, or why it stands still."""

    transition: AlertTransition


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell people; at most one for each decision."""

    intent: NotificationIntent


@dataclass(frozen=True, slots=True)
class Act:
    """Ask serving to act, on ``llm.actions``; at most one for each decision."""

    request: ActionRequested


@dataclass(frozen=True, slots=True)
class Judge:
    """Say on ``llm.actions`` whether an action helped."""

    verdict: ActionVerdict


Effect = Transitioned | Notify | Act | Judge
