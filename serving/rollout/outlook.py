"""Say of a rollout what is known of its canary, what comes next, and what keeps it from that. Pure.

Nothing here decides; `serving/rollout/machine.py` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from serving.rollout.machine import METRICS, STEPS, Metric, Outcome, RolloutState
from serving.rollout.trail import Standing

__all__ = [
    "Comparison",
    "Outlook",
    "Verdict",
    "comparisons",
    "duration",
    "lag_of",
    "outlook",
    "share_name",
]

_PATIENCE_S: Final = 60
_LOOKS: Final = 4


class Verdict(StrEnum):
    """What is known of the canary in one metric."""

    UNKNOWN = "unknown"
    NO_HARM = "no sign of harm"
    SUSPICIOUS = "suspicious"
    WORSE = "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Canary and stable version in one metric.

    ``evidence`` multiplies with each look: 1 is none, and the policy says what is enough. Without a
    canary request it is None, and so is ``standing`` as long as nobody could count at all.
    ``silent_since_us`` says since when the looks know nothing of a metric that they knew before.
    """

    metric: Metric
    verdict: Verdict
    evidence: float | None
    standing: Standing | None
    silent_since_us: int | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a running rollout waits for.

    ``requests_needed`` is None where the step needs none. ``eta_s`` is None when it cannot be
    known: no canary request has come, or there is a suspicion against ``held_by``.
    """

    following: str
    seconds: float
    seconds_needed: float
    requests: int
    requests_needed: int | None
    held_by: Metric | None
    eta_s: float | None

    @property
    def sentence(self) -> str:
        """Return it in words."""
        if self.held_by is not None:
            return (
                f"Held at this step: there is a suspicion against {self.held_by}. It goes on when "
                "the suspicion fades, or back when it is confirmed."
            )
        waits = []
        if self.requests_needed is not None and self.requests < self.requests_needed:
            waits.append(f"{self.requests_needed - self.requests:,} more canary requests")
        if self.seconds < self.seconds_needed:
            waits.append(f"{duration(self.seconds_needed - self.seconds)} more")
        if not waits:
            return f"{self.following} at the next look, if the canary is no worse."
        when = ""
        if self.requests_needed is not None and not self.requests:
            when = " (none has come yet)"
        elif self.requests_needed is not None and self.requests < self.requests_needed:
            when = "" if self.eta_s is None else f", in about {duration(self.eta_s)}"
        return f"{self.following} after {' and '.join(waits)}{when}, if the canary is no worse."


def comparisons(state: RolloutState) -> list[Comparison]:
    """Return what is known in each metric, unknown ones too."""
    return [_comparison(state, metric) for metric in METRICS]


def outlook(state: RolloutState, now_us: int) -> Outlook | None:
    """Return what a rollout waits for; None when it is over."""
    if state.outcome is not Outcome.RUNNING:
        return None
    policy, shadow = state.policy, state.share == "shadow"
    seconds = max(0.0, (now_us - state.step_at_us) / 1e6)
    needed_s = policy.shadow_s if shadow else policy.step_s
    needed = None if shadow else policy.step_requests
    suspects = [c for c in comparisons(state) if c.verdict is Verdict.SUSPICIOUS]
    worst = max(suspects, key=lambda c: c.evidence or 0, default=None)
    eta_s: float | None = max(0.0, needed_s - seconds)
    if needed is not None and state.step_requests < needed:
        counted_s = (state.looked_at_us - state.step_at_us) / 1e6
        known = state.step_requests > 0 and counted_s > 0
        missing = needed - state.step_requests
        eta_s = max(eta_s or 0, missing * counted_s / state.step_requests) if known else None
    return Outlook(
        following=share_name(STEPS[state.step + 1]),
        seconds=seconds,
        seconds_needed=needed_s,
        requests=state.step_requests,
        requests_needed=needed,
        held_by=worst.metric if worst else None,
        eta_s=None if worst else eta_s,
    )


def lag_of(state: RolloutState, now_us: int, driven: bool | None) -> str | None:
    """Return why a running rollout's figures are old or stand still, or None.

    Args:
        state: as it was last written.
        now_us: UTC microseconds.
        driven: whether a process drives it; None when that is not known.
    """
    if state.outcome is not Outcome.RUNNING:
        return None
    age_s = (now_us - state.looked_at_us) / 1e6
    if driven is False:
        return (
            f"Nobody drives this rollout: the last look ended {duration(age_s)} ago, and nothing "
            f"takes a bad canary back. `tocsin rollout start {state.version}` takes it up again."
        )
    if state.trouble:
        return (
            f"Nothing has been learnt for {duration(age_s)}: {state.trouble}. The canary keeps its "
            "share until it can be looked at again."
        )
    if age_s > _PATIENCE_S + _LOOKS * (state.every_s or 0):
        return f"The last look ended {duration(age_s)} ago: what came since is unknown."
    return None


def share_name(step: str) -> str:
    """Return a step as people say it."""
    return "Shadow copies" if step == "shadow" else "All traffic" if step == "100" else f"{step} %"


def duration(seconds: float) -> str:
    """Return a time span in words, in its two largest units.

    >>> duration(7), duration(125), duration(3_600), duration(93_784)
    ('7 s', '2 min 5 s', '1 h', '1 d 2 h')
    """
    left = max(0, round(seconds))
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def _comparison(state: RolloutState, metric: Metric) -> Comparison:
    evidence = state.evidence.get(metric)
    if evidence is None:
        return Comparison(metric, Verdict.UNKNOWN, None, None)
    standing = Standing.of(evidence)
    if evidence.canary == 0:
        return Comparison(metric, Verdict.UNKNOWN, None, standing)
    verdict = Verdict.NO_HARM
    if evidence.log_value >= state.policy.threshold:
        verdict = Verdict.WORSE
    elif evidence.log_value > math.log(state.policy.suspicion):
        verdict = Verdict.SUSPICIOUS
    silent = None
    if state.trail and metric not in state.trail[-1].metrics:
        silent = next((p.at_us for p in reversed(state.trail) if metric in p.metrics), None)
    value = math.exp(min(evidence.log_value, 700))
    return Comparison(metric, verdict, value, standing, silent)
