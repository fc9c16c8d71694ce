"""What the demo plays: whose traffic, how fast, and what goes wrong when."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from serving.fleet.profile import Fault, FleetProfile, ProviderProfile, Speed
from serving.fleet.users import Arrival
from tocsin.replay.traces import read_trace

__all__ = ["BACKUP", "BAD_VERSION", "GOOD_VERSION", "MODEL", "PRIMARY", "Scenario"]

MODEL = "llama-3.1-70b"
PRIMARY, BACKUP = "vllm", "together"
GOOD_VERSION, BAD_VERSION = "v1", "v2"


@dataclass(frozen=True, slots=True)
class Scenario:
    """Moments in seconds of the wall clock since the first request.

    ``speed`` compresses the trace, ``time_scale`` the rules: a rule that looks back 5 minutes
    looks back 300 / ``time_scale`` seconds.
    """

    speed: float = 8
    time_scale: float = 20
    promote_at_s: float = 33
    outage_at_s: float = 66
    duration_s: float = 104
    settle_s: float = 60

    def arrivals(self) -> list[Arrival]:
        """Return what the demo needs of the Azure trace that ships with Tocsin, uncompressed."""
        with as_file(files("tocsin.demo").joinpath("data", "azure_code_slice.csv")) as path:
            trace = read_trace(Path(path))
        return [a for a in trace if a.offset_s <= self.duration_s * self.speed]

    def fleet(self) -> FleetProfile:
        """Return a fleet of our own servers and a hosted provider to fall back to.

        The second version is bad from the start; nobody asks for it until it is promoted.
        """
        bad = Fault(error_share=0.3, latency_factor=2.5, degenerate_share=0.7)
        good = Fault()
        # Fast engines: the trace's longest answers (1,899 tokens) must end while the demo lasts.
        speed = Speed(step_s=0.004)
        return FleetProfile(
            model=MODEL,
            providers={
                PRIMARY: ProviderProfile(
                    versions={GOOD_VERSION: good, BAD_VERSION: bad}, speed=speed
                ),
                BACKUP: ProviderProfile(
                    versions={GOOD_VERSION: good, BAD_VERSION: good}, speed=speed
                ),
            },
        )
