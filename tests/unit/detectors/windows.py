"""Make closed windows for tests."""

from collections.abc import Sequence

import numpy as np

from detectors.closed_window import Window
from detectors.sketch import DDSketch

__all__ = ["SIZE", "S", "make_window", "sketch_of"]

S = 1_000_000
SIZE = 10 * S


def sketch_of(values: Sequence[float]) -> DDSketch:
    sketch = DDSketch()
    sketch.add(np.asarray(values, np.float64))
    return sketch


def make_window(
    end_s: int,
    labels: dict[str, str] | None = None,
    *,
    revision: int = 0,
    sketches: dict[str, Sequence[float]] | None = None,
    **counts: int,
) -> Window:
    return Window(
        start_us=end_s * S - SIZE,
        end_us=end_s * S,
        labels=labels or {},
        revision=revision,
        sketches={name: sketch_of(values) for name, values in (sketches or {}).items()},
        **counts,
    )
