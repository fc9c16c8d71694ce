"""Whether an action may go out: kill switch, cooldown, flapping, blast radius, cap. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import Field

from alerting.rules.duration import format_duration
from schemas.action import ActionKind, ActionRequested
from schemas.base import Labels, Message, Micros, Name
from schemas.settings import AlertingSettings

__all__ = ["Decision", "PastAction", "Policy", "target_of"]

_TARGET_LABELS: Final[dict[ActionKind, tuple[str, ...]]] = {
    # Not the version or the provider: going back and forth between two of them is the flapping
    # that the cooldown is there to stop.
    ActionKind.ROLLBACK: ("model",),
    ActionKind.FALLBACK: ("model",),
    ActionKind.SCALE_UP: ("model",),
    ActionKind.RATE_LIMIT: ("model", "feature", "plan", "user_id"),
    ActionKind.CANARY_OFF: ("model",),
    ActionKind.CHAIN_ON: ("model",),
    ActionKind.CHAIN_OFF: ("model",),
    ActionKind.UNLOAD_ADAPTER: ("model",),
    ActionKind.ROLLOUT_UNDO: ("model",),
    ActionKind.UNDO: (),
}


def target_of(kind: ActionKind, labels: Labels) -> str:
    """Return what an action changes, as one name: the kind and the labels that matter to it."""
    parts = [f"{label}={labels[label]}" for label in _TARGET_LABELS[kind] if label in labels]
    return f"{kind}({','.join(parts)})"


class PastAction(Message):
    """An action that was let out; ``model`` is what it was about, empty when it named none."""

    action_id: Name
    target: str
    model: str = ""
    at_us: Micros
    undone_us: Micros | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an action may go out; the reason is for people."""

    allowed: bool
    reason: str = ""


class Policy(Message):
    """What may act now; a value that is replaced, so that it can live in a table.

    ``lagging`` holds every rule but that of the watermark. ``frozen`` is the executor's kill
    switch, as it told, with who turned it in ``frozen_by``. ``barred`` says why nothing may act on
    the alert at hand; undoing may. ``recent`` are the actions let out in the longest of the times
    that count.
    """

    dry_run: bool = False
    frozen: bool = False
    frozen_by: str = ""
    lagging: bool = False
    barred: str = ""
    actions_per_hour: Annotated[int, Field(ge=0)] = 6
    cap_window_s: Annotated[float, Field(gt=0)] = 3_600
    cooldown_s: Annotated[float, Field(ge=0)] = 600
    undone_cooldown_s: Annotated[float, Field(ge=0)] = 6 * 3_600
    blast_radius: Annotated[int, Field(ge=1)] = 3
    recent: tuple[PastAction, ...] = ()

    @classmethod
    def from_settings(cls, settings: AlertingSettings) -> Policy:
        """Return the policy that the settings ask for, with nothing done yet."""
        return cls(
            dry_run=settings.dry_run,
            actions_per_hour=settings.actions_per_hour,
            cooldown_s=settings.cooldown_s,
            undone_cooldown_s=settings.undone_cooldown_s,
            blast_radius=settings.blast_radius,
        )

    def scaled(self, factor: float) -> Self:
        """Return the policy with its durations divided by a factor: a rehearsal in fast motion."""
        return self.model_copy(
            update={
                "cap_window_s": self.cap_window_s / factor,
                "cooldown_s": self.cooldown_s / factor,
                "undone_cooldown_s": self.undone_cooldown_s / factor,
            }
        )

    def hold(self, lagging: bool) -> Self:
        """Return the policy that holds the rules, or lets them go on."""
        return self if lagging is self.lagging else self.model_copy(update={"lagging": lagging})

    def freeze(self, frozen: bool, by: str = "") -> Self:
        """Return the policy that knows how the kill switch stands."""
        if (frozen, by) == (self.frozen, self.frozen_by):
            return self
        return self.model_copy(update={"frozen": frozen, "frozen_by": by})

    def bar(self, reason: str) -> Self:
        """Return the policy that bars actions for a reason, or does not when it is empty."""
        return self if reason == self.barred else self.model_copy(update={"barred": reason})

    def decide(self, request: ActionRequested, now_us: int) -> Decision:
        """Tell whether an action may go out at an event time.

        Taking an action back is barred by the kill switch alone. A request that was let out
        before is let out again: deciding twice must not change the decision.
        """
        if self.frozen:
            by = f" by {self.frozen_by}" if self.frozen_by else ""
            return Decision(False, f"actions are frozen{by} (kill switch)")
        if request.kind is ActionKind.UNDO:
            return Decision(True)
        if any(past.action_id == request.action_id for past in self.recent):
            return Decision(True)
        if self.barred:
            return Decision(False, self.barred)
        target = target_of(request.kind, request.labels)
        for past in reversed(self.recent):
            if past.target != target:
                continue
            wait_us = past.at_us + round(self.cooldown_s * 1e6) - now_us
            if wait_us > 0:
                return Decision(
                    False, f"cooldown: {target} for another {format_duration(wait_us / 1e6)}"
                )
            if past.undone_us is None:
                continue
            wait_us = past.undone_us + round(self.undone_cooldown_s * 1e6) - now_us
            if wait_us > 0:
                ago = format_duration((now_us - past.undone_us) / 1e6)
                return Decision(
                    False,
                    f"flapping: {target} was taken back {ago} ago, for it did not help; not again "
                    f"for another {format_duration(wait_us / 1e6)}",
                )
        return self._within_bounds(request, now_us)

    def _within_bounds(self, request: ActionRequested, now_us: int) -> Decision:
        since_us = now_us - round(self.cap_window_s * 1e6)
        window = format_duration(self.cap_window_s)
        lately = [past for past in self.recent if past.at_us > since_us]
        if len(lately) >= self.actions_per_hour:
            return Decision(False, f"cap: {self.actions_per_hour} actions in {window}")
        models = {past.model for past in lately}
        if request.labels.get("model", "") not in models and len(models) >= self.blast_radius:
            names = ", ".join(sorted(model or "(no model named)" for model in models))
            return Decision(
                False, f"blast radius: {self.blast_radius} models in {window}, already {names}"
            )
        return Decision(True)

    def record(self, request: ActionRequested, now_us: int) -> Self:
        """Return the policy that knows of an action let out; knowing it already changes nothing.

        A plan counts for nothing; an undo marks what it takes back.
        """
        if request.plans is not None:
            return self
        if request.kind is ActionKind.UNDO:
            return self._undone(request.undoes or "", now_us)
        if any(past.action_id == request.action_id for past in self.recent):
            return self
        longest_s = max(self.cap_window_s, self.cooldown_s, self.undone_cooldown_s)
        keep_us = now_us - round(longest_s * 1e6)
        past = PastAction(
            action_id=request.action_id,
            target=target_of(request.kind, request.labels),
            model=request.labels.get("model", ""),
            at_us=now_us,
        )
        kept = (item for item in self.recent if (item.undone_us or item.at_us) > keep_us)
        return self.model_copy(update={"recent": (*kept, past)})

    def _undone(self, action_id: str, now_us: int) -> Self:
        if not any(p.action_id == action_id and p.undone_us is None for p in self.recent):
            return self
        marked = tuple(
            past.model_copy(update={"undone_us": now_us}) if past.action_id == action_id else past
            for past in self.recent
        )
        return self.model_copy(update={"recent": marked})
