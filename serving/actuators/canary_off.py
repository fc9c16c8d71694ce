"""Take the canary off: set `ai.canary.percent` to 0."""

from __future__ import annotations

from schemas.action import ActionRequested
from schemas.flag import FlagKey
from serving.actuators.base import Refusal
from serving.actuators.flag_switch import FlagSwitch, about_another, unswitchable
from serving.flags.document import FlagDocument
from serving.flags.history import ChangeKind

__all__ = ["CanaryOff", "decide_canary_off"]


class CanaryOff(FlagSwitch):
    """Flip `ai.canary.percent` to its variant of 0 %."""

    name = "canary_off"
    key = FlagKey.CANARY_PERCENT
    change = ChangeKind.ROLLBACK

    def decide(
        self,
        document: FlagDocument,
        request: ActionRequested,
        now_us: int,  # noqa: ARG002 - a canary that fails is taken off, however old it is
    ) -> str | Refusal:
        """Return the variant of 0 %, or why there is nothing to take off."""
        return decide_canary_off(document, request)


def decide_canary_off(document: FlagDocument, request: ActionRequested) -> str | Refusal:
    """Return the variant whose value is 0; the alert must be about the canary's version."""
    for key in (FlagKey.CANARY_PERCENT, FlagKey.CANARY_VERSION):
        if refusal := unswitchable(document, key):
            return refusal
    version, percent = (
        document.flag(key) for key in (FlagKey.CANARY_VERSION, FlagKey.CANARY_PERCENT)
    )
    if refusal := about_another(version, request, "model_version"):
        return refusal
    if _is_zero(percent.value):
        return Refusal(reason="the canary has 0 % already")
    zero = next((name for name, value in percent.variants.items() if _is_zero(value)), None)
    return zero or Refusal(reason=f"{percent.key} has no variant of 0 %")


def _is_zero(value: str | bool) -> bool:
    try:
        return not isinstance(value, bool) and float(value) == 0
    except ValueError:
        return False
