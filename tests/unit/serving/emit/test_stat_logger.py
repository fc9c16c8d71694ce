"""The plugin without vLLM: a base class of the same name stands in; tests/vllm has the real one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from schemas.engine import EngineSample
from schemas.settings import EmitSettings
from serving.emit.emission import Emission
from serving.emit.sink import MemorySink


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("vllm", "vllm.v1", "vllm.v1.metrics"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    loggers = ModuleType("vllm.v1.metrics.loggers")
    loggers.StatLoggerBase = type("StatLoggerBase", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, loggers.__name__, loggers)
    monkeypatch.delitem(sys.modules, "serving.emit.stat_logger", raising=False)
    yield importlib.import_module("serving.emit.stat_logger")
    sys.modules.pop("serving.emit.stat_logger", None)


@pytest.fixture
def sink(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> MemorySink:
    sink = MemorySink()
    emission = Emission(EmitSettings(server="s"), sink)
    monkeypatch.setattr(plugin, "shared_emission", lambda: emission)
    sink.emission = emission  # type: ignore[attr-defined]
    return sink


CONFIG = SimpleNamespace(model_config=SimpleNamespace(served_model_name=["tiny", "other"]))
STATS = SimpleNamespace(num_running_reqs=1, num_waiting_reqs=0, kv_cache_usage=0.1)
FINISHED = SimpleNamespace(
    finished_requests=[SimpleNamespace(request_id="chatcmpl-a", queued_time=0.5)]
)


def test_records_and_samples(plugin: Any, sink: Any) -> None:
    assert not sink.emission.join.active
    logger = plugin.TocsinStatLogger(CONFIG, 1)
    assert sink.emission.join.active
    logger.record(STATS, FINISHED, None, 0)
    logger.record(scheduler_stats=None, iteration_stats=None, mm_cache_stats=None, engine_idx=0)
    [sample] = sink.messages
    assert isinstance(sample, EngineSample)
    assert (sample.model, sample.engine_index, sample.server) == ("tiny", 1, "s")
    [record] = sink.emission.join.take("chatcmpl-a", 0, 1)
    assert record.queue_s == 0.5


def test_samples_tell_how_busy_the_engines_gpus_are(
    plugin: Any, sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[list[int | str]] = []
    began: list[Any] = []

    class Meter:
        def __init__(self, load: Any, choose: Any) -> None:
            chosen.append(choose(8))

        def start(self) -> None:
            began.append(self)

        def take(self) -> float:
            return 0.75

    monkeypatch.setattr(plugin, "GpuMeter", Meter)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,6,7")
    parallel = SimpleNamespace(world_size=2, data_parallel_size_local=2)
    config = SimpleNamespace(model_config=CONFIG.model_config, parallel_config=parallel)
    for engine in (1, 2):  # the second is the first of another machine
        plugin.TocsinStatLogger(config, engine).record(STATS, None)
    assert chosen == [[6, 7], [2, 3]]
    assert len(began) == 2
    assert [sample.gpu_utilization for sample in sink.messages] == [0.75, 0.75]

    off = EmitSettings(server="s", gpu=False)
    monkeypatch.setattr(plugin, "shared_emission", lambda: Emission(off, sink))
    plugin.TocsinStatLogger(CONFIG, 0).record(STATS, None)
    assert len(began) == 2
    assert sink.messages[-1].gpu_utilization is None


def test_nothing_ever_raises(plugin: Any, sink: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in `record` would end vLLM's output handler, and with it the server."""

    class Hostile:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    logger = plugin.TocsinStatLogger(Hostile(), "not a number", surprise=True)
    logger = plugin.TocsinStatLogger(CONFIG, 0)
    logger.record(Hostile(), Hostile())
    logger.record(STATS, SimpleNamespace(finished_requests=[Hostile()]), surprise=True)
    logger.log()
    logger.log_engine_initialized()
    logger.record_sleep_state(1, 2)

    def broken() -> None:
        raise RuntimeError("x")

    monkeypatch.setattr(plugin, "shared_emission", broken)
    logger = plugin.TocsinStatLogger(CONFIG, 0)
    logger.record(STATS, FINISHED)
    logger.log()


def test_switched_off(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "shared_emission", lambda: None)
    logger = plugin.TocsinStatLogger(CONFIG, 0)
    logger.record(STATS, FINISHED)
    logger.log()
