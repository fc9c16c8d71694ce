"""A sampler looks until it is over, and its failure is not kept to itself."""

from __future__ import annotations

import os

import pytest

from benchmarks.core.latency import memory
from benchmarks.core.watch import MemoryWatch, Sampler


def test_a_sampler_looks_at_the_beginning_and_at_the_end() -> None:
    looks: list[int] = []
    with Sampler(lambda: looks.append(1), every_s=3_600):
        pass
    assert len(looks) == 2


def test_what_a_look_raises_is_raised_at_the_end() -> None:
    def fail() -> None:
        raise ConnectionError("the store is gone")

    with pytest.raises(ConnectionError), Sampler(fail, every_s=3_600):
        pass


def test_memory_of_a_process_and_its_slope() -> None:
    watch = MemoryWatch(os.getpid())
    watch.look()
    ((_, size),) = watch.points
    assert size > 10
    points = [(0.0, 100.0), (30.0, 300.0), (60.0, 310.0), (90.0, 320.0), (120.0, 330.0)]
    assert memory(points) == pytest.approx(
        {"first": 100, "last": 330, "max": 330, "slope_mb_per_min": 20}
    )
