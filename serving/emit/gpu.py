"""How busy an engine's GPUs are, as NVIDIA's driver counts it (NVML), beside the server.

NVML's utilisation is the share of the driver's last sampling period (a sixth of a second to one
second) in which some kernel ran. It says busy, not full: a GPU that decodes for one request is as
busy as one that decodes for a hundred. DCGM's counters tell that; where they are collected, alert
on them there.
"""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from serving.emit.counters import contained

__all__ = ["GpuMeter", "Nvml", "chosen_devices", "load_nvml"]

_log = structlog.get_logger("tocsin.emit")

_MODULES: Final = ("pynvml", "vllm.third_party.pynvml")
_INTERVAL_S: Final = 1.0


class Nvml(Protocol):
    """The functions of the module ``pynvml`` (package nvidia-ml-py) that are used here."""

    def nvmlInit(self) -> Any:  # noqa: N802 - NVML's names
        """Find the driver; raises NVMLError where there is none."""

    def nvmlShutdown(self) -> Any:  # noqa: N802
        """Let the driver go."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """Return how many GPUs the machine has."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        """Return a GPU by its place."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: N802
        """Return a GPU by its id."""

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:  # noqa: N802
        """Return an object whose ``gpu`` is 0 to 100; raises where that is not counted (MIG)."""


def load_nvml() -> Nvml:
    """Return the module that speaks to the driver: nvidia-ml-py's, or vLLM's own copy.

    Raises:
        ImportError: there is neither.
    """
    for name in _MODULES[:-1]:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return importlib.import_module(_MODULES[-1])


def chosen_devices(visible: str | None, count: int, engine: int, size: int) -> list[int | str]:
    """Return the GPUs of an engine: places on the machine, or ids.

    Engines of one server take their GPUs in turn, ``size`` each, from those that are visible. Where
    there are too few for that (a server over several machines), all visible ones are its own.

    Args:
        visible: ``CUDA_VISIBLE_DEVICES``, None when it is not set.
        count: how many GPUs the machine has.
        engine: which engine of the server on this machine.
        size: how many GPUs an engine takes: tensor times pipeline parallel.

    Examples:
        >>> chosen_devices(None, 8, 1, 2)
        [2, 3]
        >>> chosen_devices("4,5", 8, 0, 4)
        [4, 5]
        >>> chosen_devices("GPU-8f1", 8, 0, 1)
        ['GPU-8f1']
    """
    devices: list[int | str] = list(range(count))
    if visible is not None:
        devices = []
        for part in (part.strip() for part in visible.split(",")):
            if not part or part == "-1" or (part.isdigit() and int(part) >= count):
                break  # CUDA ignores what follows a device that is not there
            devices.append(int(part) if part.isdigit() else part)
    own = devices[engine * size : (engine + 1) * size] if size > 0 and engine >= 0 else []
    return own if own and len(own) == size else devices


class GpuMeter:
    """Read the utilisation once a second in a thread of its own, and hand out the mean.

    A driver that hangs holds up nothing but this thread; what is not read is unknown, not 0.

    Args:
        load: returns NVML; its errors mean that nothing is known.
        choose: returns the GPUs for the machine's number of them.
        interval_s: seconds between two readings.
    """

    def __init__(
        self,
        load: Callable[[], Nvml],
        choose: Callable[[int], Sequence[int | str]],
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._load = load
        self._choose = choose
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._total = 0.0
        self._readings = 0
        self._thread = threading.Thread(target=self._run, name="tocsin-gpu", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading, without waiting for a driver that may hang."""
        self._stop.set()

    def take(self) -> float | None:
        """Return the mean of the readings since the last call, 0 to 1; None without any."""
        with self._lock:
            total, readings = self._total, self._readings
            self._total, self._readings = 0.0, 0
        return total / readings if readings else None

    def _run(self) -> None:
        try:
            nvml = self._load()
            nvml.nvmlInit()
        except Exception as error:  # noqa: BLE001 - no driver, no library: both are usual
            _log.info("no GPU to be read; its use is unknown", error=type(error).__name__)
            return
        try:
            handles = [_handle(nvml, device) for device in self._choose(nvml.nvmlDeviceGetCount())]
            while handles and not self._stop.wait(self._interval_s):
                self._read(nvml, handles)
        except Exception as error:  # noqa: BLE001
            contained("gpu", error)
        finally:
            try:
                nvml.nvmlShutdown()
            except Exception as error:  # noqa: BLE001
                contained("gpu", error)

    def _read(self, nvml: Nvml, handles: Sequence[Any]) -> None:
        try:
            busy = [float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) for handle in handles]
        except Exception as error:  # noqa: BLE001 - a GPU may be lost, and may come back
            contained("gpu", error)
            return
        mean = sum(busy) / len(busy) / 100
        if math.isfinite(mean) and 0 <= mean <= 1:
            with self._lock:
                self._total += mean
                self._readings += 1


def _handle(nvml: Nvml, device: int | str) -> Any:
    if isinstance(device, int):
        return nvml.nvmlDeviceGetHandleByIndex(device)
    return nvml.nvmlDeviceGetHandleByUUID(device)
