"""Faults that tests order: 429 with Retry-After, 5xx, delays, answers lost after the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Fault", "FaultBox"]


class Fault(BaseModel):
    """What the next ``times`` requests to ``target`` meet.

    ``when`` "before": the request is refused with ``status`` and changes nothing. "after": it is
    carried out and then answered with ``status``: what a caller sees when the answer gets lost.
    Without ``status`` the request only waits ``delay_s``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Literal["slack", "pagerduty"]
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    when: Literal["before", "after"] = "before"
    times: Annotated[int, Field(ge=1, le=100_000)] = 1
    retry_after_s: Annotated[int, Field(ge=0, le=3_600)] = 1
    delay_s: Annotated[float, Field(ge=0, le=60)] = 0

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers that go with the status."""
        return {"Retry-After": str(self.retry_after_s)} if self.status == 429 else {}


class FaultBox:
    """Faults in the order they were set; the first for a target is met until it is used up."""

    def __init__(self) -> None:
        self._faults: list[tuple[Fault, int]] = []
        self.met = 0

    def add(self, fault: Fault) -> None:
        """Order a fault."""
        self._faults.append((fault, fault.times))

    def clear(self) -> None:
        """Forget every fault."""
        self._faults.clear()

    def next(self, target: str) -> Fault | None:
        """Return the fault that the next request meets, and count it as met."""
        for index, (fault, left) in enumerate(self._faults):
            if fault.target == target:
                self.met += 1
                if left == 1:
                    del self._faults[index]
                else:
                    self._faults[index] = (fault, left - 1)
                return fault
        return None

    def as_dict(self) -> dict[str, Any]:
        """Return what is still to come."""
        return {
            "met": self.met,
            "waiting": [fault.model_dump() | {"times": left} for fault, left in self._faults],
        }
