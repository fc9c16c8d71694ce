"""What a decision asks the world to do."""

from __future__ import annotations

from dataclasses import dataclass

from alerting.intent import NotificationIntent
from schemas.action import ActionDecided, ActionProposed, ActionRequested, ActionVerdict
from schemas.alert import AlertTransition

__all__ = ["Act", "Decided", "Effect", "Judge", "Notify", "Proposed", "Stands", "Transitioned"]


@dataclass(frozen=True, slots=True)
class Transitioned:
    """Tell ``llm.alerts`` that an alert changed, or why it stands still."""

    transition: AlertTransition


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell people; at most one for each decision."""

    intent: NotificationIntent


@dataclass(frozen=True, slots=True)
class Stands:
    """Say an open incident's state again, under its old revision: news to nobody who knows it."""

    intent: NotificationIntent


@dataclass(frozen=True, slots=True)
class Act:
    """Ask serving to act, on ``llm.actions``; at most one for each decision."""

    request: ActionRequested


@dataclass(frozen=True, slots=True)
class Judge:
    """Say on ``llm.actions`` whether an action helped."""

    verdict: ActionVerdict


@dataclass(frozen=True, slots=True)
class Proposed:
    """Say on ``llm.actions`` that an action waits for approval."""

    proposal: ActionProposed


@dataclass(frozen=True, slots=True)
class Decided:
    """Say on ``llm.actions`` what became of a proposal, or that a decision did nothing."""

    decision: ActionDecided


Effect = Transitioned | Notify | Stands | Act | Judge | Proposed | Decided
