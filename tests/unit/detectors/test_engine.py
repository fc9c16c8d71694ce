"""Means of what engines say, each sample once, unknown in no mean."""

from __future__ import annotations

import pytest

from detectors.engine import Engines
from schemas.engine import EngineSample
from schemas.signal import SIGNALS, Signal, SignalName, SignalQuery

S = 1_000_000
GPU = SignalQuery(SignalName.GPU_UTILIZATION, 60, ("server",))
COUNT = SignalQuery(SignalName.ENGINE_SAMPLE_COUNT, 60, ("server",))


def sample(at_s: int, gpu: float | None, server: str = "a", index: int = 0) -> EngineSample:
    return EngineSample(
        schema_version=1,
        server=server,
        engine_index=index,
        at_us=at_s * S,
        model="m",
        running_requests=1,
        waiting_requests=2,
        gpu_utilization=gpu,
    )


def said(engines: Engines, at_s: int) -> dict[tuple[str, str], Signal]:
    return {
        (signal.signal, signal.labels.get("server", "")): signal
        for signal in engines.evaluate(at_s * S)
    }


def test_a_lookback_holds_the_samples_of_its_time_whenever_they_come() -> None:
    engines = Engines([GPU])
    for at_s in (100, 160, 101, 130, 130, 200):
        engines.add(sample(at_s, 0.5 if at_s < 160 else 0.9))
    signal = said(engines, 160)["gpu_utilization", "a"]
    assert signal.samples == 3  # 101, 130 once, 160
    assert signal.value == pytest.approx((0.5 + 0.5 + 0.9) / 3)
    assert signal.detail == {"lowest": 0.5, "highest": 0.9}
    assert set(signal.detail) == set(SIGNALS[SignalName.GPU_UTILIZATION].details)
    assert said(engines, 220)["gpu_utilization", "a"].samples == 1


def test_engines_of_a_server_are_one_series_unless_asked_apart() -> None:
    apart = SignalQuery(SignalName.GPU_UTILIZATION, 60, ("server", "engine_index"))
    engines = Engines([GPU, apart])
    engines.add(sample(10, 0.2, index=0))
    engines.add(sample(11, 0.8, index=1))
    together, *each = engines.evaluate(60 * S)
    assert together.value == pytest.approx(0.5)
    assert {s.labels["engine_index"]: s.value for s in each} == {"0": 0.2, "1": 0.8}


def test_what_an_engine_does_not_say_is_unknown_and_no_nought() -> None:
    engines = Engines([GPU, SignalQuery(SignalName.WAITING_REQUESTS, 60, ("server",))])
    engines.add(sample(10, None))
    signals = said(engines, 60)
    assert (signals["gpu_utilization", "a"].value, signals["gpu_utilization", "a"].samples) == (
        None, 0,
    )  # fmt: skip
    assert signals["waiting_requests", "a"].value == 2


def test_an_engine_that_falls_silent_is_told_of_for_another_lookback() -> None:
    engines = Engines([COUNT])
    engines.add(sample(10, 0.5))
    assert said(engines, 60)["engine_sample_count", "a"].value == 1
    assert said(engines, 75)["engine_sample_count", "a"].value == 0
    assert said(engines, 131) == {}


def test_other_queries_are_answered_from_the_samples_held() -> None:
    engines = Engines([COUNT])
    engines.add(sample(10, 0.5))
    engines.reask([GPU])
    assert said(engines, 60)["gpu_utilization", "a"].value == 0.5


def test_labels_that_engines_do_not_have_are_not_answered() -> None:
    engines = Engines([SignalQuery(SignalName.GPU_UTILIZATION, 60, ("feature",))])
    engines.add(sample(10, 0.5))
    assert engines.evaluate(60 * S) == []
