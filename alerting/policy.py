"""Whether an action may go out: dry run, kill switch, cooldown, cap per hour. Pure."""

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
    """An action that was let out."""

    action_id: Name
    target: str
    at_us: Micros


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an action may go out; the reason is for people."""

    allowed: bool
    reason: str = ""


class Policy(Message):
    """What may act now; a value that is replaced, so that it can live in a table.

    ``lagging`` holds every rule but that of the watermark. ``barred`` says why nothing may act on
    the alert at hand; undoing may. ``recent`` are the actions let out in
    the last ``cap_window_s`` or ``cooldown_s``, whichever is longer.
    """

    dry_run: bool = False
    frozen: bool = False
    lagging: bool = False
    barred: str = ""
    actions_per_hour: Annotated[int, Field(ge=0)] = 6
    cap_window_s: Annotated[float, Field(gt=0)] = 3_600
    cooldown_s: Annotated[float, Field(ge=0)] = 600
    recent: tuple[PastAction, ...] = ()

    @classmethod
    def from_settings(cls, settings: AlertingSettings) -> Policy:
        """Return the policy that the settings ask for, with nothing done yet."""
        return cls(
            dry_run=settings.dry_run,
            actions_per_hour=settings.actions_per_hour,
            cooldown_s=settings.cooldown_s,
        )

    def scaled(self, factor: float) -> Self:
        """Return the policy with its durations divided by a factor: a rehearsal in fast motion."""
        return self.model_copy(
            update={
                "cap_window_s": self.cap_window_s / factor,
                "cooldown_s": self.cooldown_s / factor,
            }
        )

    def hold(self, lagging: bool) -> Self:
        """Return the policy that holds the rules, or lets them go on."""
        return self if lagging is self.lagging else self.model_copy(update={"lagging": lagging})

    def bar(self, reason: str) -> Self:
        """Return the policy that bars actions for a reason, or does not when it is empty."""
        return self if reason == self.barred else self.model_copy(update={"barred": reason})

    def decide(self, request: ActionRequested, now_us: int) -> Decision:
        """Tell whether an action may go out at an event time.

        Taking an action back is barred by the kill switch alone. A request that was let out
        before is let out again: deciding twice must not change the decision.
        """
        if self.frozen:
            return Decision(False, "actions are frozen (kill switch)")
        if request.kind is ActionKind.UNDO:
            return Decision(True)
        if any(past.action_id == request.action_id for past in self.recent):
            return Decision(True)
        if self.barred:
            return Decision(False, self.barred)
        target = target_of(request.kind, request.labels)
        for past in reversed(self.recent):
            wait_us = past.at_us + round(self.cooldown_s * 1e6) - now_us
            if past.target == target and wait_us > 0:
                return Decision(
                    False, f"cooldown: {target} for another {format_duration(wait_us / 1e6)}"
                )
        since_us = now_us - round(self.cap_window_s * 1e6)
        if sum(past.at_us > since_us for past in self.recent) >= self.actions_per_hour:
            return Decision(
                False,
                f"cap: {self.actions_per_hour} actions in {format_duration(self.cap_window_s)}",
            )
        return Decision(True)

    def record(self, request: ActionRequested, now_us: int) -> Self:
        """Return the policy that knows of an action let out; knowing it already changes nothing."""
        if request.kind is ActionKind.UNDO or any(
            past.action_id == request.action_id for past in self.recent
        ):
            return self
        keep_us = now_us - round(max(self.cap_window_s, self.cooldown_s) * 1e6)
        past = PastAction(
            action_id=request.action_id,
            target=target_of(request.kind, request.labels),
            at_us=now_us,
        )
        kept = tuple(item for item in self.recent if item.at_us > keep_us)
        return self.model_copy(update={"recent": (*kept, past)})
