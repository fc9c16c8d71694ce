"""GPU use behind a fake NVML: its mean, its absence, its errors, and that nothing waits for it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from serving.emit.counters import FAILURES
from serving.emit.gpu import GpuMeter, Nvml, chosen_devices, load_nvml


class FakeNvml:
    """NVML with some GPUs; ``busy`` is asked for each reading, in percent."""

    def __init__(self, busy: Callable[[Any], Any], count: int = 2) -> None:
        self.busy, self.count = busy, count
        self.readings = 0
        self.shut = threading.Event()

    def nvmlInit(self) -> None:  # noqa: N802 - NVML\'s names
        pass

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVML\'s names
        self.shut.set()

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML\'s names
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802 - NVML\'s names
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: N802 - NVML\'s names
        return uuid

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:  # noqa: N802 - NVML\'s names
        self.readings += 1
        return SimpleNamespace(gpu=self.busy(handle), memory=1)


def meter_of(
    nvml: Any, choose: Callable[[int], Sequence[int | str]] = range
) -> tuple[GpuMeter, threading.Thread]:
    meter = GpuMeter(lambda: nvml, choose, interval_s=0.001)
    meter.start()
    return meter, meter._thread


def until(look: Callable[[], object]) -> Any:
    deadline = time.monotonic() + 10
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return found


@pytest.fixture(autouse=True)
def _no_threads_stay() -> Iterator[None]:
    before = threading.active_count()
    yield
    until(lambda: threading.active_count() <= before)


def test_the_mean_over_the_engines_gpus_since_the_last_look() -> None:
    nvml: Nvml = FakeNvml({2: 90, "GPU-x": 70, 0: 1, 1: 1}.__getitem__, 3)
    meter, _ = meter_of(nvml, lambda count: [count - 1, "GPU-x"])
    assert until(meter.take) == pytest.approx(0.8)
    meter.close()
    assert nvml.shut.wait(10)  # type: ignore[attr-defined]
    meter.take()
    assert meter.take() is None  # nothing since: unknown, not 0


def test_an_idle_gpu_is_nought_and_that_is_known() -> None:
    meter, _ = meter_of(FakeNvml(lambda _: 0))
    assert until(lambda: meter.take() == 0.0)
    meter.close()


@pytest.mark.parametrize("error", [ImportError("no pynvml"), RuntimeError("no driver")])
def test_without_a_gpu_its_use_is_unknown(error: Exception) -> None:
    def load() -> Nvml:
        raise error

    meter = GpuMeter(load, range)
    meter.start()
    meter._thread.join(10)
    assert not meter._thread.is_alive()
    assert meter.take() is None


def test_a_driver_that_refuses_is_no_zero_and_what_comes_back_is_read_again() -> None:
    refuse = threading.Event()
    refuse.set()

    def busy(_: Any) -> float:
        if refuse.is_set():
            raise RuntimeError("NVMLError_NotSupported")
        return 50

    before = FAILURES.labels("gpu")._value.get()
    nvml = FakeNvml(busy)
    meter, _ = meter_of(nvml)
    until(lambda: nvml.readings > 5)
    assert meter.take() is None
    assert FAILURES.labels("gpu")._value.get() > before
    refuse.clear()
    assert until(meter.take) == 0.5
    meter.close()


@pytest.mark.parametrize("odd", [float("nan"), 101, -1, "x", None])
def test_what_is_no_share_is_unknown(odd: Any) -> None:
    nvml = FakeNvml(lambda _: odd)
    meter, _ = meter_of(nvml)
    until(lambda: nvml.readings > 5)
    assert meter.take() is None
    meter.close()


def test_a_driver_that_hangs_holds_nobody_up() -> None:
    hangs = threading.Event()

    def busy(_: Any) -> float:
        hangs.wait(10)
        return 1

    nvml = FakeNvml(busy)
    meter, thread = meter_of(nvml)
    until(lambda: nvml.readings)
    assert meter.take() is None
    meter.close()
    assert thread.daemon  # the server's end does not wait for it
    hangs.set()


def test_a_machine_without_visible_gpus_is_not_read() -> None:
    nvml = FakeNvml(lambda _: 1)
    _, thread = meter_of(nvml, lambda count: chosen_devices("", count, 0, 1))
    thread.join(10)
    assert nvml.readings == 0
    assert nvml.shut.is_set()


@pytest.mark.parametrize(
    ("visible", "count", "engine", "size", "own"),
    [
        (None, 4, 0, 1, [0]),
        (None, 4, 3, 1, [3]),
        ("2,3", 4, 1, 1, [3]),
        ("3, 1 ,0,2", 4, 1, 2, [0, 2]),
        ("0,1", 4, 2, 1, [0, 1]),  # another machine counts its engines on: the visible ones
        ("1,-1,2", 4, 0, 1, [1]),
        ("1,9,2", 4, 0, 8, [1]),
        ("", 4, 0, 1, []),
        ("MIG-1,GPU-2", 4, 1, 1, ["GPU-2"]),
        (None, 0, 0, 1, []),
        (None, 2, 0, 0, [0, 1]),
    ],
)
def test_which_gpus_are_an_engines(
    visible: str | None, count: int, engine: int, size: int, own: list[int | str]
) -> None:
    assert chosen_devices(visible, count, engine, size) == own


def test_vllms_own_copy_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vllm", "vllm.third_party", "vllm.third_party.pynvml"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert load_nvml() is sys.modules["vllm.third_party.pynvml"]
    monkeypatch.setitem(sys.modules, "pynvml", own := ModuleType("pynvml"))
    assert load_nvml() is own
