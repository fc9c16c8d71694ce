"""Switch the gateway's fallback chain on or off: `ai.fallback.enabled`."""

from __future__ import annotations

from schemas.action import ActionRequested
from schemas.flag import FlagKey
from serving.actuators.base import Refusal
from serving.actuators.flag_switch import FlagSwitch, about_another, unswitchable
from serving.flags.document import FlagDocument
from serving.flags.history import ChangeKind
from serving.flags.store import FlagStore

__all__ = ["ChainSwitch", "decide_chain"]


class ChainSwitch(FlagSwitch):
    """Flip `ai.fallback.enabled`.

    Args:
        store: the flag file.
        on: whether this lever switches the chain on (when a provider fails), or off (when the
            providers that stand in cost too much or answer badly).
    """

    key = FlagKey.FALLBACK_ENABLED
    change = ChangeKind.FALLBACK

    def __init__(self, store: FlagStore, *, on: bool) -> None:
        super().__init__(store)
        self._on = on
        self.name = "chain_on" if on else "chain_off"

    def decide(
        self,
        document: FlagDocument,
        request: ActionRequested,
        now_us: int,  # noqa: ARG002 - no age speaks against it
    ) -> str | Refusal:
        """Return the variant to set, or why none."""
        return decide_chain(document, request, on=self._on)


def decide_chain(document: FlagDocument, request: ActionRequested, *, on: bool) -> str | Refusal:
    """Return the variant that switches the chain.

    To switch it on the alert must be about the provider in force; to switch it off, about another
    one, which stands in for it.
    """
    for key in (FlagKey.FALLBACK_ENABLED, FlagKey.MODEL_PROVIDER):
        if refusal := unswitchable(document, key):
            return refusal
    flag, provider = (
        document.flag(key) for key in (FlagKey.FALLBACK_ENABLED, FlagKey.MODEL_PROVIDER)
    )
    blamed = request.labels.get("provider")
    if on or blamed is None:
        if refusal := about_another(provider, request, "provider"):
            return refusal
    elif blamed == provider.value or blamed not in provider.variants.values():
        return Refusal(reason=f"the alert is about {blamed}, which stands in for nobody")
    if flag.value is on:
        return Refusal(reason=f"the fallback chain is {'on' if on else 'off'} already")
    wanted = next((name for name, value in flag.variants.items() if value is on), None)
    return wanted or Refusal(reason=f"{flag.key} has no variant {on}")
