"""Windows of a few uneven series, and the questions that remember something."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import numpy as np

from detectors.closed_window import Window
from detectors.sketch import DDSketch
from schemas.signal import Signal, SignalName, SignalQuery

__all__ = ["QUERIES", "SIZE_US", "START_US", "rolled", "said"]

SIZE_US = 10_000_000
START_US = time.time_ns() // 10**10 * 10**7 - 10**10
"""Some hours ago: the store drops old sketches."""
BY = ("model", "model_version")

QUERIES: Sequence[SignalQuery] = (
    SignalQuery(SignalName.E2E_P95_RATIO, 60, BY),
    SignalQuery(SignalName.COST_RATE_RATIO, 120, ("model",)),
    SignalQuery(SignalName.OUTPUT_TOKENS_PER_S_RATIO, 40, ("model",)),
    SignalQuery(SignalName.TTFT_P95_MAD, 60, BY),
    SignalQuery(SignalName.REQUEST_RATE_ADWIN, 20, ("model",)),
    SignalQuery(SignalName.E2E_P95, 300, ("model",)),
    SignalQuery(SignalName.REQUEST_COUNT, 240, ("model",)),
    SignalQuery(SignalName.ERROR_BURN, 300, ("provider",), short_s=60, objective=0.99),
    SignalQuery(SignalName.INPUT_TOKENS_PSI, 300, ("model",)),
    SignalQuery(SignalName.OUTPUT_TOKENS_KS, 120, ("model",)),
    SignalQuery(SignalName.INPUT_TOKENS_ADWIN, 300, ("model",)),
)


def rolled(seed: int, count: int, *, silent: range = range(0)) -> list[list[Window]]:
    """Return windows by their end: a steady series, one that is rare, one that ends, one slow."""
    rng = np.random.default_rng(seed)
    chance = random.Random(seed)
    ends = []
    for number in range(1, count + 1):
        windows = []
        for model, version, share, size in (
            ("a", "v1", 1.0, 60),
            ("a", "v2", 0.3, 25),
            ("b", "v1", 0.8 if number < count * 0.6 else 0.0, 40),
            ("c", "", 0.05, 3),
        ):
            if number in silent or chance.random() >= share:
                continue
            slow = 3.0 if version == "v2" and number > count * 0.7 else 1.0
            windows.append(_window(rng, number, (model, version), size, slow))
        ends.append(windows)
    return ends


def _window(
    rng: np.random.Generator, number: int, names: tuple[str, str], size: int, slow: float
) -> Window:
    requests = int(rng.integers(1, size))
    e2e = rng.lognormal(0, 0.4, requests) * slow
    values = {
        "e2e_s": e2e,
        "ttft_s": e2e[: requests // 2] / 4,
        "tpot_s": rng.lognormal(-4, 0.3, requests),
        "input_tokens": rng.integers(1, 900, requests).astype(np.float64) * slow,
        "output_tokens": rng.integers(1, 300, requests).astype(np.float64),
    }
    sketches = {}
    for name, numbers in values.items():
        if numbers.size:
            sketches[name] = DDSketch()
            sketches[name].add(numbers)
    return Window(
        start_us=START_US + (number - 1) * SIZE_US,
        end_us=START_US + number * SIZE_US,
        labels={
            "provider": "p",
            "model": names[0],
            "model_version": names[1],
            "route": "",
            "feature": "",
        },
        requests=requests,
        errors=int(rng.integers(0, 2)),
        input_tokens=int(values["input_tokens"].sum()),
        output_tokens=int(values["output_tokens"].sum()),
        cost_nano_usd=requests * 1_000_000_007,
        sketches=sketches,
    )


def said(signals: Sequence[Signal]) -> dict[tuple[object, ...], Signal]:
    """Return signals by what they are about; their order tells nothing."""
    found = {
        (s.signal, s.over_s, tuple(sorted(s.labels.items())), s.window_end_us): s for s in signals
    }
    assert len(found) == len(signals)
    return found
