"""Roll back: set `ai.model.version` to the last version that was good."""

from __future__ import annotations

from schemas.action import ActionRequested
from schemas.flag import FlagKey
from serving.actuators.base import Refusal
from serving.actuators.flag_switch import FlagSwitch, about_another, unswitchable
from serving.flags.document import Flag, FlagDocument
from serving.flags.history import ChangeKind, last_good
from serving.flags.store import FlagStore

__all__ = ["Rollback", "decide_rollback"]


class Rollback(FlagSwitch):
    """Flip `ai.model.version` to the previous good version.

    Args:
        store: the flag file.
        promotion_age_s: a promotion older than this is not taken for the cause.
    """

    name = "rollback"
    key = FlagKey.MODEL_VERSION
    change = ChangeKind.ROLLBACK

    def __init__(self, store: FlagStore, *, promotion_age_s: float) -> None:
        super().__init__(store)
        self._promotion_age_s = promotion_age_s

    def decide(
        self, document: FlagDocument, request: ActionRequested, now_us: int
    ) -> str | Refusal:
        """Return the version to go back to, or why not."""
        return decide_rollback(document, request, now_us, self._promotion_age_s)


def decide_rollback(
    document: FlagDocument, request: ActionRequested, now_us: int, promotion_age_s: float
) -> str | Refusal:
    """Return the variant that was good before the promotion that the alert blames.

    Refuses whenever it is not plain that the version in force came by a recent promotion, is the
    one that the alert is about, and has a good predecessor.
    """
    if refusal := unswitchable(document, FlagKey.MODEL_VERSION):
        return refusal
    flag = document.flag(FlagKey.MODEL_VERSION)
    if refusal := _not_blamed(flag, request):
        return refusal
    last = flag.history[-1]
    if last.kind is ChangeKind.CREATED:
        return Refusal(
            reason=f"there was no promotion: {flag.variant} has been in force from the start"
        )
    if last.kind is ChangeKind.ROLLBACK:
        return Refusal(reason=f"{flag.variant} is the last good version already: {last.reason}")
    if last.known_good:
        return Refusal(reason=f"{flag.variant} has been marked as good")
    target = last_good(flag.history)
    if target is None or target not in flag.variants:
        return Refusal(reason=f"no version before {flag.variant} is known to be good")
    age_s = (now_us - last.at_us) / 1e6
    if age_s > promotion_age_s:
        return Refusal(
            reason=f"{flag.variant} was promoted {age_s / 3600:.1f} h ago, longer than "
            f"{promotion_age_s / 3600:.1f} h: something else must have changed"
        )
    return target


def _not_blamed(flag: Flag, request: ActionRequested) -> Refusal | None:
    """Return why the alert is not about the version in force, or None if it is.

    An alert about fallbacks names no version. It says that what was in force did not answer; that
    is what is in force now, if it has been for as long as the alert looks back.
    """
    fallbacks, covered_s = (request.evidence.get(name) for name in ("fallbacks", "covered_s"))
    if "model_version" in request.labels or not fallbacks or covered_s is None:
        return about_another(flag, request, "model_version")
    last = flag.history[-1]
    if last.at_us > request.requested_at_us - round(covered_s * 1e6):
        return Refusal(
            reason=f"{flag.variant} came in force within the {covered_s:g} s that the alert looks "
            "back: the version that did not answer may have been another"
        )
    return None
