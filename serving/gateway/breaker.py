"""Take upstreams that fail out of rotation for a while: a pure state machine for all of them.

The ideas are Envoy's (outlier detection): an upstream is ejected after some failures in a row, for
longer each time, never more than a share of all upstreams at once, and it can be tried out without
enforcing. From circuit breakers (Nygard, "Release It!", 2007) comes the half-open state: when its
time is over an upstream gets one request at a time until one goes well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BreakerPolicy", "BreakerState", "Breakers"]

_Seconds = Annotated[float, Field(gt=0, le=86_400)]


class BreakerPolicy(BaseModel):
    """When an upstream is ejected, and for how long.

    The n-th ejection in a row lasts n times ``ejection_s``, ``max_ejection_s`` at most; each
    ``forgive_s`` without a failure takes one off the count. At most the share
    ``max_ejected_share`` of all upstreams, rounded down, is ejected at once. With ``enforce`` off
    ejections are only counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    consecutive_failures: Annotated[int, Field(ge=1, le=10_000)] = 5
    ejection_s: _Seconds = 5
    max_ejection_s: _Seconds = 300
    forgive_s: _Seconds = 60
    max_ejected_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    enforce: bool = True


class BreakerState(StrEnum):
    """Where an upstream stands."""

    CLOSED = "closed"
    EJECTED = "ejected"
    PROBING = "probing"


@dataclass(slots=True)
class _Breaker:
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0  # in a row
    ejections: int = 0
    until: float = 0.0  # the end of the present ejection
    calm_since: float = 0.0  # when the count of ejections was last lowered, or a failure came
    probing: bool = False  # the one request of the half-open state is on its way


class Breakers:
    """The breakers of all upstreams; times are monotonic seconds.

    Args:
        names: the upstreams.
        policy: when to eject.
    """

    def __init__(self, names: Iterable[str], policy: BreakerPolicy) -> None:
        self._policy = policy
        self._breakers = {name: _Breaker() for name in names}
        self.capped = 0
        """Ejections that did not happen because too many upstreams were ejected already."""
        self.ejected_in_all = 0

    @property
    def max_ejected(self) -> int:
        """Return how many upstreams may be ejected at once."""
        return int(self._policy.max_ejected_share * len(self._breakers) + 1e-9)

    def state(self, name: str) -> BreakerState:
        """Return where an upstream stands."""
        return self._breakers[name].state

    def ejected(self) -> list[str]:
        """Return the upstreams out of rotation, those being probed included."""
        return [n for n, b in self._breakers.items() if b.state is not BreakerState.CLOSED]

    def returns_at(self, name: str) -> float:
        """Return when an ejected upstream may be probed."""
        return self._breakers[name].until

    def available(self, name: str, at: float) -> bool:
        """Tell whether `admit` would let a request through, without taking a probe's place."""
        breaker = self._breakers[name]
        if breaker.state is BreakerState.CLOSED:
            return True
        return at >= breaker.until and not breaker.probing

    def admit(self, name: str, at: float) -> bool:
        """Return whether a request may go to an upstream; a half-open one takes one at a time.

        Whoever was admitted reports one of `succeeded`, `failed` and `released`.
        """
        breaker = self._breakers[name]
        if breaker.state is BreakerState.CLOSED:
            return True
        if at < breaker.until or breaker.probing:
            return False
        breaker.state = BreakerState.PROBING
        breaker.probing = True
        return True

    def succeeded(self, name: str, at: float) -> None:
        """Note an answer that went well; a probe's brings the upstream back."""
        breaker = self._breakers[name]
        breaker.failures = 0
        if breaker.state is BreakerState.PROBING:
            breaker.state = BreakerState.CLOSED
            breaker.probing = False
            breaker.calm_since = at
        elif breaker.ejections and at - breaker.calm_since >= self._policy.forgive_s:
            breaker.ejections -= 1
            breaker.calm_since = at

    def failed(self, name: str, at: float) -> bool:
        """Note a failure; return whether it ejected the upstream.

        Failures of requests that were under way when the upstream was ejected change nothing.
        """
        breaker = self._breakers[name]
        breaker.calm_since = at
        if breaker.state is BreakerState.EJECTED:
            return False
        breaker.failures += 1
        if breaker.state is BreakerState.PROBING:
            breaker.probing = False
            self._eject(breaker, at)
            return True
        if breaker.failures < self._policy.consecutive_failures:
            return False
        if len(self.ejected()) >= self.max_ejected:
            self.capped += 1
            return False
        if self._policy.enforce:
            self._eject(breaker, at)
        else:
            breaker.failures = 0
        self.ejected_in_all += 1
        return True

    def released(self, name: str) -> None:
        """Note that an admitted request ended without telling anything of the upstream."""
        self._breakers[name].probing = False

    def _eject(self, breaker: _Breaker, at: float) -> None:
        policy = self._policy
        breaker.state = BreakerState.EJECTED
        breaker.ejections += 1
        breaker.failures = 0
        breaker.until = at + min(policy.max_ejection_s, breaker.ejections * policy.ejection_s)
