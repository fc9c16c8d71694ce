"""One series' token lengths against its own past: frozen reference, current lookback, ADWIN."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from detectors.adwin import AdwinDrift
from detectors.base import JSON
from detectors.errors import SnapshotError
from detectors.sketch import DDSketch
from detectors.two_sample import sample_of
from schemas.window import SketchState

__all__ = ["LengthSeries", "SavedSeries"]

_LOG_SCALE: Final = math.log1p(1_000_000_000)
_ADWIN_VALUES: Final = 500


class SavedSeries(BaseModel):
    """What of a series outlives a restart; the current lookback is that of the windows since.

    ``frozen_us`` is the end of the last window in the reference; ``changes`` are the times at which
    ADWIN found one within the lookback.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: SketchState
    frozen: bool
    fed: int
    adwin: dict[str, JSON]
    frozen_us: int = 0
    changes: tuple[int, ...] = ()


class LengthSeries:
    """Take the first requests as the reference for good, and compare the newest with them.

    Whole windows are taken, so the reference holds ``reference_size`` requests or a few more; the
    windows that made it are in no lookback. ADWIN sees log(1 + length) scaled to [0, 1], at most
    500 values of each window in an order that hangs on its time alone, so that a replay answers
    alike.

    Args:
        over_us: the lookback.
        reference_size: requests in the reference.
        adwin_delta: see ``AdwinDrift``.

    """

    def __init__(self, over_us: int, reference_size: int, adwin_delta: float) -> None:
        self._over_us = over_us
        self._reference_size = reference_size
        self._pending = DDSketch()
        self._recent: deque[tuple[int, DDSketch]] = deque()
        self._changes: deque[int] = deque()
        self._sample: NDArray[np.float64] | None = None
        self._adwin = AdwinDrift(adwin_delta)
        self.reference = DDSketch()
        self.current = DDSketch()
        self.frozen = False
        self.frozen_us = 0
        self.known_us = 0  # what ends by then is known, and is not taken in again
        self.saved_us = 0
        self.fed = 0

    def add(self, lengths: DDSketch) -> None:
        """Add a window's lengths; they count from the next ``advance``."""
        self._pending.merge(lengths)

    def remember(self, lengths: DDSketch, end_us: int) -> None:
        """Add a window of the lookback that a saved series had taken in before it was saved."""
        if self.frozen and end_us > self.frozen_us:
            self._recent.append((end_us, lengths))
            self.current.merge(lengths)

    def advance(self, now_us: int) -> None:
        """End the lookback at this time."""
        if self._pending.count:
            lengths, self._pending = self._pending, DDSketch()
            self._feed(lengths, now_us)
            if self.frozen:
                self._recent.append((now_us, lengths))
                self.current.merge(lengths)
            else:
                self.reference.merge(lengths)
                self.frozen = self.reference.count >= self._reference_size
                self.frozen_us = now_us
            self.known_us = now_us
        while self._recent and self._recent[0][0] <= now_us - self._over_us:
            self.current.subtract(self._recent.popleft()[1])
        while self._changes and self._changes[0] <= now_us - self._over_us:
            self._changes.popleft()

    @property
    def changes(self) -> int:
        """Return how often ADWIN found a change within the lookback."""
        return len(self._changes)

    @property
    def adwin_width(self) -> int:
        """Return how many values ADWIN's window holds."""
        return self._adwin.width

    @property
    def adwin_mean(self) -> float | None:
        """Return the geometric mean (of 1 + length, less 1) of ADWIN's window, in tokens."""
        value = self._adwin.value
        return None if value is None else math.expm1(value * _LOG_SCALE)

    def reference_sample(self) -> NDArray[np.float64]:
        """Return the reference as a sample; it is made once."""
        if self._sample is None:
            self._sample = sample_of(self.reference)
        return self._sample

    def save(self) -> SavedSeries:
        """Return what a restart needs."""
        return SavedSeries(
            reference=self.reference.to_state(),
            frozen=self.frozen,
            fed=self.fed,
            adwin=self._adwin.snapshot(),
            frozen_us=self.frozen_us,
            changes=tuple(self._changes),
        )

    def load(self, saved: SavedSeries) -> None:
        """Take over a saved series; an ADWIN of other settings starts anew.

        Raises:
            SketchError: the reference is malformed.

        """
        self.reference = DDSketch.from_state(saved.reference)
        self.frozen = saved.frozen
        self.frozen_us = saved.frozen_us
        self._changes = deque(saved.changes)
        self._sample = None
        try:
            self._adwin.restore(saved.adwin)
        except SnapshotError:
            self.fed = 0
        else:
            self.fed = saved.fed

    def _feed(self, lengths: DDSketch, now_us: int) -> None:
        values = np.log1p(sample_of(lengths, _ADWIN_VALUES)) / _LOG_SCALE
        for value in np.random.default_rng(now_us).permutation(np.minimum(values, 1.0)).tolist():
            self._adwin.update(value)
            if self._adwin.detected:
                self._changes.append(now_us)
        self.fed += values.size
