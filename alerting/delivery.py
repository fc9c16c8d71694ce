"""When to try a notification again, and when to stop. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from alerting.errors import NotifyError, NotifyRefused, NotifyRetryable
from alerting.rules.duration import format_duration

__all__ = ["DeliveryPolicy", "GiveUp", "TryAgain", "next_attempt", "next_attempt_us"]

_MOST_ASKED_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How patiently to deliver: pauses double from ``first_s`` up to ``longest_s``.

    As many ``attempts`` take about a day: what still fires then has long been told elsewhere.
    """

    first_s: float = 1.0
    longest_s: float = 120.0
    attempts: int = 960


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Try once more, not before ``at_us``."""

    at_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop; the reason is for people."""

    reason: str


def next_attempt(
    attempt: int,
    error: Exception,
    now_us: int,
    key: str = "",
    policy: DeliveryPolicy = DeliveryPolicy(),
) -> TryAgain | GiveUp:
    """Return what follows the failure of an attempt (1 is the first).

    A refusal ends it at once. Otherwise the pause doubles; up to half of it is taken off by a
    hash of ``key`` and attempt, so that many deliveries do not come back in one instant and yet
    the same log gives the same times. A receiver's ``Retry-After`` is obeyed as a lower bound, up
    to an hour. An error that no notifier declares counts as retryable: a bookkeeping fault must
    not lose a page.
    """
    said = str(error) if isinstance(error, NotifyError) else f"{type(error).__name__}: {error}"
    if isinstance(error, NotifyRefused):
        return GiveUp(f"refused: {said}")
    if attempt >= policy.attempts:
        return GiveUp(f"gave up after {attempt} attempts: {said}")
    pause_s = min(policy.longest_s, policy.first_s * 2.0 ** min(attempt - 1, 30))
    digest = hashlib.sha256(f"{key}:{attempt}".encode()).digest()
    pause_s *= 1 - digest[0] / 255 / 2
    asked_s = error.retry_after_s if isinstance(error, NotifyRetryable) else None
    if asked_s is not None:
        pause_s = max(pause_s, min(asked_s, _MOST_ASKED_S))
    return TryAgain(
        now_us + round(pause_s * 1e6),
        f"attempt {attempt} failed, next in {format_duration(pause_s)}: {said}",
    )


def next_attempt_us(attempt: int, error: Exception, now_us: int, key: str = "") -> int | None:
    """Return when to try again after the failure of an attempt; None to stop."""
    following = next_attempt(attempt, error, now_us, key)
    return following.at_us if isinstance(following, TryAgain) else None
