"""Engine samples become signals; what cannot be read is counted and acknowledged."""

from __future__ import annotations

from prometheus_client import REGISTRY

from schemas.engine import EngineSample
from schemas.signal import SignalName, SignalQuery
from schemas.topics import Topics
from streams.engine import EngineAgent
from tests.unit.streams.fakes import FakeEvent, FakeStream

GPU = SignalQuery(SignalName.GPU_UTILIZATION, 60, ("server",))


def refused() -> float:
    labels = {"topic": Topics.ENGINE.name}
    return REGISTRY.get_sample_value("tocsin_messages_refused_total", labels) or 0.0


async def test_samples_become_signals_and_a_bad_one_is_passed_over() -> None:
    sample = EngineSample(
        schema_version=1, server="a", engine_index=0, at_us=10**6, model="m",
        running_requests=1, waiting_requests=0, gpu_utilization=0.97,
    )  # fmt: skip
    events = [FakeEvent(b"{}"), FakeEvent(None), FakeEvent(sample.to_json())]
    agent, before = EngineAgent([GPU]), refused()
    await agent.run(FakeStream(events))
    (signal,) = await agent.signals(2 * 10**6)
    assert (signal.value, signal.samples, signal.labels) == (0.97, 1, {"server": "a"})
    assert [event.acked for event in events] == [1, 1, 1]
    assert refused() == before + 2
