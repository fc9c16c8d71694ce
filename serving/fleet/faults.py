"""The faults that are in force now, and which of them hits a request."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from serving.errors import FleetError
from serving.fleet.profile import Fault, FleetProfile

__all__ = ["Fate", "Faults", "fate_of"]


class Faults:
    """Faults by provider and version: the profile gives the first, the admin endpoint others."""

    def __init__(self, profile: FleetProfile) -> None:
        self._providers = {name: p.fault for name, p in profile.providers.items()}
        self._versions = {
            (name, version): fault
            for name, p in profile.providers.items()
            for version, fault in p.versions.items()
        }

    def of(self, provider: str, version: str) -> Fault:
        """Return what is wrong with a version at a provider."""
        return self._providers[provider].with_(self._versions[provider, version])

    def set(self, provider: str, version: str | None, fault: Fault) -> None:
        """Put a fault in force, of the whole provider when `version` is None.

        Raises:
            FleetError: no such provider or version.
        """
        if provider not in self._providers:
            raise FleetError(f"no provider {provider}; there are {', '.join(self._providers)}")
        if version is None:
            self._providers[provider] = fault
        elif (provider, version) in self._versions:
            self._versions[provider, version] = fault
        else:
            raise FleetError(f"provider {provider} has no version {version}")

    def all(self, provider: str) -> dict[str, Fault]:
        """Return the provider's faults; its own under "*"."""
        versions = {v: f for (name, v), f in self._versions.items() if name == provider}
        return {"*": self._providers[provider], **versions}


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one request."""

    fails: bool
    breaks_at: float | None
    """The share of the answer after which the stream breaks; None breaks none."""
    degenerate: bool
    latency_factor: float
    output_factor: float
    outage: bool


def fate_of(fault: Fault, random: Random, *, stream: bool) -> Fate:
    """Return what a fault does to one request; the same random numbers give the same fate."""
    hit, mid, where, degenerate = (random.random() for _ in range(4))
    fails = hit < fault.error_share
    breaks = fails and stream and mid < fault.mid_stream_share
    return Fate(
        fails=fails and not breaks,
        breaks_at=where if breaks else None,
        degenerate=degenerate < fault.degenerate_share,
        latency_factor=fault.latency_factor,
        output_factor=fault.output_factor,
        outage=fault.outage,
    )
