"""The stat-logger plugin: what the engine itself knows of each request, and of its queue and cache.

vLLM finds it by the entry point group `vllm.stat_logger_plugins` and makes one for each engine, in
the process of the middleware. This is the only module that imports vLLM. An error in `record`
would end the whole server, so each method contains its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from serving.emit.counters import contained
from serving.emit.emission import Emission, shared_emission
from serving.emit.engine_stats import SampleMaker, read_finished
from serving.emit.gpu import GpuMeter, chosen_devices, load_nvml

__all__ = ["TocsinStatLogger"]


class TocsinStatLogger(StatLoggerBase):  # type: ignore[misc]  # vLLM is not there to be checked
    """Hand the engine's records to the join, and a sample a second to the sink."""

    def __init__(self, vllm_config: Any = None, engine_index: int = 0, *_: Any, **__: Any) -> None:
        self._emission: Emission | None = None
        self._samples: SampleMaker | None = None
        try:
            self._emission = shared_emission()
            if self._emission is not None:
                self._samples = _sample_maker(self._emission, vllm_config, engine_index)
                self._emission.join.active = True
        except Exception as error:  # noqa: BLE001
            contained("stat_logger", error)

    def record(
        self, scheduler_stats: Any = None, iteration_stats: Any = None, *_: Any, **__: Any
    ) -> None:
        """Take the statistics of one engine step."""
        emission = self._emission
        if emission is None:
            return
        try:
            for record in read_finished(iteration_stats, emission.clock.monotonic()):
                emission.join.add(record)
            self._sample(scheduler_stats)
        except Exception as error:  # noqa: BLE001
            contained("record", error)

    def log(self, *_: Any, **__: Any) -> None:
        """Sample an idle engine too: vLLM calls this every few seconds."""
        try:
            self._sample(None)
        except Exception as error:  # noqa: BLE001
            contained("log", error)

    def log_engine_initialized(self, *_: Any, **__: Any) -> None:
        """Do nothing: the first step says as much."""

    def record_sleep_state(self, *_: Any, **__: Any) -> None:
        """Do nothing: a sleeping engine takes no requests."""

    def _sample(self, scheduler_stats: Any) -> None:
        if self._samples is not None and self._emission is not None:
            sample = self._samples.record(scheduler_stats)
            if sample is not None:
                self._emission.sink.emit(sample)


def _sample_maker(emission: Emission, vllm_config: Any, engine_index: int) -> SampleMaker:
    config = getattr(vllm_config, "model_config", None)
    names = getattr(config, "served_model_name", None)
    name = names[0] if isinstance(names, list) and names else names
    index = engine_index if isinstance(engine_index, int) else 0
    return SampleMaker(
        emission.origin.server,
        str(name or getattr(config, "model", None) or "unknown")[:256],
        index,
        monotonic=emission.clock.monotonic,
        wall_ns=emission.clock.wall_ns,
        gpu=_gpu(vllm_config, index) if emission.settings.gpu else lambda: None,
    )


def _gpu(vllm_config: Any, index: int) -> Callable[[], float | None]:
    """Begin to read the engine's GPUs; return what gives their mean use since the last call."""
    parallel = getattr(vllm_config, "parallel_config", None)
    size = getattr(parallel, "world_size", None)
    local = getattr(parallel, "data_parallel_size_local", None)
    engine = index % local if type(local) is int and local > 0 else index
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")

    def choose(count: int) -> list[int | str]:
        return chosen_devices(visible, count, engine, size if type(size) is int else 1)

    meter = GpuMeter(load_nvml, choose)
    meter.start()
    return meter.take
