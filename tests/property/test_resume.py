"""A successor that is told what was learnt answers as the first would have, wherever it begins."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from detectors.closed_window import Window
from detectors.drift import Drift
from detectors.errors import SnapshotError
from detectors.memory import POINTS, Memory
from detectors.packed import pack, unpack
from detectors.rolling import Rolling
from schemas.settings import DriftSettings
from tests.support.figures import QUERIES, SIZE_US, START_US, rolled, said

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking: an example is long, and its seed says all."""

DRIFT = DriftSettings(reference_requests=400, current_requests=60)


def through_the_store(memory: Memory) -> Memory:
    state = orjson.loads(orjson.dumps(memory.state))
    return Memory(memory.kind, memory.asked, memory.series, memory.at_us, state)


def kept(memories: list[Memory], before_us: int, kind: str) -> list[Memory]:
    """Return what ``Past.learnt`` would: the newest points of a series, its newest snapshot."""
    found: dict[Any, list[Memory]] = {}
    for memory in memories:
        if memory.at_us < before_us and memory.kind == kind:
            found.setdefault((memory.asked, memory.series), []).append(memory)
    most = POINTS if kind == "point" else 1
    return [through_the_store(memory) for group in found.values() for memory in group[-most:]]


def resumed(told: list[list[Window]], first: int, memories: list[Memory]) -> Rolling:
    """Return what a worker makes that begins with the window of number ``first``."""
    first_us = START_US + (first + 1) * SIZE_US
    rolling = Rolling(QUERIES, SIZE_US)
    since_us = first_us - SIZE_US - rolling.longest_us
    past = [window for windows in told[:first] for window in windows]
    heard: dict[tuple[Any, ...], int] = {}
    for window in past:
        if window.end_us > since_us - rolling.longest_us:
            heard[tuple(window.labels.items())] = window.end_us
    old = [window.start_us for window in past if window.end_us <= since_us]
    rolling.resume(
        first_us - SIZE_US, [(dict(k), end) for k, end in heard.items()], old[-1] if old else None
    )
    for window in past:
        if window.end_us > since_us:
            rolling.add(window)
    rolling.recall(kept(memories, first_us, "point") + kept(memories, first_us, "snapshot"))
    return rolling


@settings(max_examples=15, deadline=None, phases=PHASES)
@given(st.integers(0, 2**32), st.integers(1, 139), st.integers(0, 120), st.integers(0, 40))
def test_rolling_figures_go_on(seed: int, first: int, gap: int, length: int) -> None:
    told = rolled(seed, 140, silent=range(gap, gap + length))
    begin = next((n for n, windows in enumerate(told) if windows), 0)
    first = max(first, begin + 1)
    rolling = Rolling(QUERIES, SIZE_US)
    memories: list[Memory] = []
    signals = []
    for number, windows in enumerate(told):
        for window in windows:
            rolling.add(window)
        if number >= begin:
            signals.append(said(rolling.evaluate(START_US + (number + 1) * SIZE_US)))
            memories += rolling.memories()
    again = resumed(told, first, memories)
    for number in range(first, len(told)):
        for window in told[number]:
            again.add(window)
        assert said(again.evaluate(START_US + (number + 1) * SIZE_US)) == signals[number - begin]


@settings(max_examples=12, deadline=None, phases=PHASES)
@given(st.integers(0, 2**32), st.integers(1, 139), st.integers(0, 120), st.integers(0, 40))
@example(884_585_951, 137, 54, 20)  # a series that fell silent between two snapshots
def test_drift_goes_on(seed: int, first: int, gap: int, length: int) -> None:
    told = rolled(seed, 140, silent=range(gap, gap + length))
    drift = Drift(DRIFT, QUERIES)
    memories: list[Memory] = []
    signals = []
    for number, windows in enumerate(told):
        for window in windows:
            drift.add(window)
        signals.append(said(drift.evaluate(START_US + (number + 1) * SIZE_US)))
        memories += drift.memories()
    first_us = START_US + (first + 1) * SIZE_US
    again = Drift(DRIFT, QUERIES)
    again.recall(kept(memories, first_us, "snapshot"))
    for windows in told[:first]:
        if windows and windows[0].end_us > first_us - again.reach_us:
            again.resume([_repacked(window) for window in windows])
    for number in range(first, len(told)):
        for window in told[number]:
            again.add(window)
        assert said(again.evaluate(START_US + (number + 1) * SIZE_US)) == signals[number]


def _repacked(window: Window) -> Window:
    sketches = {name: unpack(pack(sketch)) for name, sketch in window.sketches.items()}
    return Window(window.start_us, window.end_us, window.labels, 0, window.requests,
                  sketches=sketches)  # fmt: skip


@pytest.mark.parametrize("state", [{}, {"end_us": "soon"}, {"values": [1.0, 2.0]}])
def test_what_cannot_have_been_learnt_is_told_and_the_rest_taken_over(state: Any) -> None:
    rolling = Rolling(QUERIES, SIZE_US)
    good = {"end_us": 1, "figures": [1.0, None, 2.0, 3.0], "bad": False}
    asked = [name for name in rolling.asked() if "_ratio" in name or "_mad" in name]
    with pytest.raises(SnapshotError, match=asked[0].split(" ")[0]):
        rolling.recall([
            *(Memory("point", name, ("wrong",), 1, state) for name in asked),
            Memory("point", asked[0], ("right",), 1, good),
        ])  # fmt: skip
    with pytest.raises(SnapshotError):
        Drift(DRIFT, QUERIES).recall([Memory("snapshot", name, ("a",), 1, state)
                                      for name in Drift(DRIFT, QUERIES).asked()])  # fmt: skip
