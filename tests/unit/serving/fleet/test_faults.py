"""Which requests a fault hits."""

from __future__ import annotations

from random import Random

import pytest

from serving.errors import FleetError
from serving.fleet.faults import Faults, fate_of
from serving.fleet.profile import Fault, FleetProfile

PROFILE = FleetProfile.model_validate(
    {
        "providers": {
            "vllm": {
                "versions": {"v1": {}, "v2": {"error_share": 0.5, "latency_factor": 3}},
                "fault": {"error_share": 0.5, "latency_factor": 2},
            },
            "backup": {"versions": ["v1"]},
        }
    }
)


def test_provider_and_version_together() -> None:
    faults = Faults(PROFILE)
    both = faults.of("vllm", "v2")
    assert (both.error_share, both.latency_factor) == (0.75, 6)
    assert faults.of("backup", "v1") == Fault()


def test_faults_change_while_it_runs() -> None:
    faults = Faults(PROFILE)
    faults.set("vllm", None, Fault(outage=True))
    faults.set("vllm", "v2", Fault())
    assert faults.of("vllm", "v1").outage
    assert set(faults.all("vllm")) == {"*", "v1", "v2"}
    with pytest.raises(FleetError, match="no version v9"):
        faults.set("vllm", "v9", Fault())
    with pytest.raises(FleetError, match="no provider nobody"):
        faults.set("nobody", None, Fault())


def test_shares_are_kept() -> None:
    fault = Fault(error_share=0.3, mid_stream_share=0.5, degenerate_share=0.9)
    fates = [fate_of(fault, Random(seed), stream=True) for seed in range(4_000)]
    assert sum(fate.fails for fate in fates) / 4_000 == pytest.approx(0.15, abs=0.02)
    assert sum(f.breaks_at is not None for f in fates) / 4_000 == pytest.approx(0.15, abs=0.02)
    assert sum(fate.degenerate for fate in fates) / 4_000 == pytest.approx(0.9, abs=0.02)


def test_what_is_no_stream_cannot_break_in_the_middle() -> None:
    fault = Fault(error_share=1, mid_stream_share=1)
    fate = fate_of(fault, Random(1), stream=False)
    assert fate.fails
    assert fate.breaks_at is None


def test_no_fault_harms_nobody() -> None:
    fates = [fate_of(Fault(), Random(seed), stream=True) for seed in range(500)]
    assert not any(f.fails or f.breaks_at is not None or f.degenerate or f.outage for f in fates)
