"""The levers an escalation may pull: each plans, checks, acts, reads back and can be undone."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.action import ActionKind
from schemas.settings import Settings
from serving.actuators.base import Actuator, Plan, ReadBack, Refusal
from serving.actuators.carry_out import carry_out
from serving.actuators.fallback import Fallback
from serving.actuators.rollback import Rollback
from serving.flags.store import FlagStore

__all__ = ["Actuator", "Fallback", "Plan", "ReadBack", "Refusal", "Rollback", "carry_out", "levers"]


def levers(store: FlagStore, settings: Settings) -> Mapping[ActionKind, Actuator]:
    """Return the actuator for each kind of action that there is one for."""
    return {
        ActionKind.ROLLBACK: Rollback(store, promotion_age_s=settings.actuators.promotion_age_s),
        ActionKind.FALLBACK: Fallback(store),
    }
