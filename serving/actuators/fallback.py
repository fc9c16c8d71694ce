"""Fall back: set `ai.model.provider` to the next provider of its chain."""

from __future__ import annotations

from schemas.action import ActionRequested
from schemas.flag import FlagKey
from serving.actuators.base import Refusal
from serving.actuators.flag_switch import FlagSwitch, about_another, unswitchable
from serving.flags.document import FlagDocument
from serving.flags.history import ChangeKind

__all__ = ["Fallback", "decide_fallback"]


class Fallback(FlagSwitch):
    """Flip `ai.model.provider` to the provider that follows in the flag's chain."""

    name = "fallback"
    key = FlagKey.MODEL_PROVIDER
    change = ChangeKind.FALLBACK

    def decide(
        self,
        document: FlagDocument,
        request: ActionRequested,
        now_us: int,  # noqa: ARG002 - a provider that fails is left, whenever it was taken
    ) -> str | Refusal:
        """Return the next provider, or why there is none."""
        return decide_fallback(document, request)


def decide_fallback(document: FlagDocument, request: ActionRequested) -> str | Refusal:
    """Return the variant after the one in force, which must be the one that the alert is about."""
    if refusal := unswitchable(document, FlagKey.MODEL_PROVIDER):
        return refusal
    flag = document.flag(FlagKey.MODEL_PROVIDER)
    if refusal := about_another(flag, request, "provider"):
        return refusal
    if not flag.chain:
        return Refusal(reason=f"{flag.key} has no chain of providers")
    if flag.variant not in flag.chain:
        return Refusal(reason=f"{flag.variant} is not in the chain {' -> '.join(flag.chain)}")
    place = flag.chain.index(flag.variant) + 1
    if place == len(flag.chain):
        return Refusal(reason=f"{flag.variant} is the last of the chain {' -> '.join(flag.chain)}")
    return flag.chain[place]
