"""Limit rates: set `ai.ratelimit.profile` to the next tighter profile of its chain."""

from __future__ import annotations

from schemas.action import ActionRequested
from schemas.flag import FlagKey
from serving.actuators.base import Refusal
from serving.actuators.flag_switch import FlagSwitch, about_another, unswitchable
from serving.flags.document import FlagDocument
from serving.flags.history import ChangeKind

__all__ = ["RateLimit", "decide_rate_limit"]


class RateLimit(FlagSwitch):
    """Flip `ai.ratelimit.profile` to the profile that follows in the flag's chain."""

    name = "rate_limit"
    key = FlagKey.RATE_LIMIT_PROFILE
    change = ChangeKind.FALLBACK

    def decide(
        self,
        document: FlagDocument,
        request: ActionRequested,
        now_us: int,  # noqa: ARG002 - no age speaks against it
    ) -> str | Refusal:
        """Return the next profile, or why there is none."""
        return decide_rate_limit(document, request)


def decide_rate_limit(document: FlagDocument, request: ActionRequested) -> str | Refusal:
    """Return the profile after the one in force.

    The alert must say what it is about, and where it names a provider, that must be in force.
    """
    if refusal := unswitchable(document, FlagKey.RATE_LIMIT_PROFILE):
        return refusal
    if not request.labels:
        return Refusal(reason="the alert has no labels: it does not say what is at fault")
    if "provider" in request.labels and FlagKey.MODEL_PROVIDER in document.flags:
        provider = document.flag(FlagKey.MODEL_PROVIDER)
        if refusal := about_another(provider, request, "provider"):
            return refusal
    flag = document.flag(FlagKey.RATE_LIMIT_PROFILE)
    if flag.variant not in flag.chain:
        return Refusal(reason=f"{flag.variant} is not in the chain {' -> '.join(flag.chain)}")
    place = flag.chain.index(flag.variant) + 1
    if place == len(flag.chain):
        return Refusal(reason=f"{flag.variant} is the tightest profile already")
    return flag.chain[place]
