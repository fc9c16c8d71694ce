"""Limit requests and tokens a minute by user, plan, feature and key. Pure; the clock is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.gateway.bucket import TokenBucket
from serving.gateway.buckets import BucketKey, Buckets, MemoryBuckets
from serving.gateway.model import LimitRule

__all__ = ["Grant", "Identity", "Limited", "RateLimiter"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, as far as it is known."""

    user: str | None = None
    plan: str | None = None
    feature: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Limited:
    """A request that has to wait."""

    wait_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A request that was let through, with the token buckets that it has to settle with."""

    reserved: float
    buckets: tuple[BucketKey, ...] = ()


class RateLimiter:
    """Buckets by rule and name, made when first needed.

    Tokens are reserved by what the prompt seems to hold and settled when the answer is over.
    Whoever has no name shares one bucket with all others that have none.

    Args:
        profiles: rules by profile; the first profile holds when another one is unknown.
        buckets: where they are kept; in this process's memory by default.
    """

    def __init__(
        self, profiles: Mapping[str, Sequence[LimitRule]], buckets: Buckets | None = None
    ) -> None:
        self._profiles = dict(profiles)
        self._default = next(iter(self._profiles), "")
        self._buckets = MemoryBuckets() if buckets is None else buckets

    def profile(self, name: str) -> str:
        """Return the profile that holds when the flag says `name`."""
        return name if name in self._profiles else self._default

    def admit(self, who: Identity, tokens: float, at: float, profile: str) -> Grant | Limited:
        """Let a request through and charge it, or say how long it has to wait and charge nothing.

        Args:
            who: for whom.
            tokens: estimate of the prompt's tokens.
            at: monotonic seconds.
            profile: what the flag says.
        """
        profile = self.profile(profile)
        if not self._profiles.get(profile):
            return Grant(tokens)
        with self._buckets.locked():
            return self._admit(who, tokens, at, profile)

    def _admit(self, who: Identity, tokens: float, at: float, profile: str) -> Grant | Limited:
        charged: list[tuple[BucketKey, TokenBucket, float]] = []
        to_settle: list[BucketKey] = []
        longest: Limited | None = None
        for place, rule in enumerate(self._profiles.get(profile, ())):
            name = _name(rule, who)
            if name is None:
                continue
            for unit, rate, amount in (
                ("requests", rule.requests_per_minute, 1.0),
                ("tokens", rule.tokens_per_minute, tokens),
            ):
                if rate is None:
                    continue
                key = BucketKey(profile, place, unit, name, rate)
                bucket = self._buckets.get(key, at)
                charged.append((key, bucket, amount))
                if unit == "tokens":
                    to_settle.append(key)
                wait_s = bucket.wait_s(amount, at)
                if wait_s > 0 and (longest is None or wait_s > longest.wait_s):
                    reason = f"{rate:g} {unit} a minute for each {rule.by}"
                    longest = Limited(wait_s, reason)
        if longest is not None:
            return longest
        for key, bucket, amount in charged:
            bucket.charge(amount, at)
            self._buckets.put(key, bucket)
        return Grant(tokens, tuple(to_settle))

    def settle(self, grant: Grant, tokens: float | None, at: float) -> None:
        """Charge the tokens that a request really took instead of the estimate; None keeps it."""
        if tokens is None or not grant.buckets:
            return
        with self._buckets.locked():
            for key in grant.buckets:
                bucket = self._buckets.get(key, at)
                bucket.charge(tokens - grant.reserved, at)
                self._buckets.put(key, bucket)


def _name(rule: LimitRule, who: Identity) -> str | None:
    """Return whose bucket a rule charges, or None when it does not match."""
    if rule.plan is not None and rule.plan != who.plan:
        return None
    if rule.feature is not None and rule.feature != who.feature:
        return None
    name: str | None = getattr(who, rule.by)
    return name or ""
