"""ADWIN: a window that grows while its mean is stable and shrinks when it has changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectors.base import JSON, is_known, read_snapshot
from detectors.errors import DetectorError

__all__ = ["AdwinDrift"]


class AdwinDrift:
    """Detect that the mean of a stream has moved, with river's ADWIN.

    river's state can be taken out only by pickle, which Tocsin does not use. So the inputs since
    the last change are kept, ``memory`` to twice ``memory`` of them: at twice, ADWIN is built anew
    from the newest ``memory``. That happens in every instance at the same input, restored or not,
    so a snapshot (the inputs kept) gives exactly the same detector back. The price is that its
    window never grows beyond twice ``memory``.

    ADWIN's guarantee is for values in [0, 1]; scale them before.

    Args:
        delta: the confidence: an upper bound of false alarms at each check.
        memory: how many values a rebuilt detector starts with.

    Raises:
        DetectorError: ``delta`` is not between 0 and 1, or ``memory`` is not positive.

    References:
        Albert Bifet, Ricard Gavaldà: Learning from Time-Changing Data with Adaptive Windowing.
        SIAM International Conference on Data Mining 2007, pages 443-448.

    Examples:
        >>> import random
        >>> rng = random.Random(42)
        >>> stream = [rng.uniform(0, 0.6) for _ in range(1_000)]
        >>> stream += [rng.uniform(0.4, 1) for _ in range(500)]
        >>> adwin = AdwinDrift()
        >>> for i, x in enumerate(stream):
        ...     adwin.update(x)
        ...     if adwin.detected:
        ...         print(f"change detected at index {i}")
        ...         break
        change detected at index 1055

    """

    def __init__(self, delta: float = 0.002, memory: int = 2_000) -> None:
        if not 0 < delta < 1:
            raise DetectorError(f"delta must lie between 0 and 1, not {delta}")
        if memory < 1:
            raise DetectorError(f"memory must be positive, not {memory}")
        self._delta = delta
        self._memory = memory
        self._inputs: list[float] = []
        self._detected = False
        self._adwin: Any = self._build()

    def update(self, x: float | None) -> None:
        """Take in the next value; None and NaN are ignored."""
        if x is None or not is_known(x):
            return
        if self._detected:  # what came before the change has no say any more
            self._inputs.clear()
            self._adwin = self._build()
        elif len(self._inputs) >= 2 * self._memory:
            del self._inputs[: -self._memory]
            self._adwin = self._build()
        self._inputs.append(float(x))
        self._adwin.update(float(x))
        self._detected = bool(self._adwin.drift_detected)

    @property
    def detected(self) -> bool:
        """Tell whether the newest value completed the proof that the mean has moved."""
        return self._detected

    @property
    def value(self) -> float | None:
        """Return the mean of the adaptive window, None before the first value."""
        return float(self._adwin.estimation) if self._inputs else None

    @property
    def width(self) -> int:
        """Return how many values the adaptive window holds."""
        return int(self._adwin.width)

    def snapshot(self) -> dict[str, JSON]:
        """Return the inputs kept and the settings."""
        return {**self._settings(), "inputs": list(self._inputs)}

    def restore(self, snapshot: Mapping[str, JSON]) -> None:
        """Feed another's inputs again.

        Raises:
            SnapshotError: it was made with other settings or is malformed.

        """
        inputs = read_snapshot(snapshot, self._settings(), ("inputs",))["inputs"]
        self._inputs = inputs[-2 * self._memory :]
        self._adwin = self._build()
        self._detected = bool(self._adwin.drift_detected)

    def _build(self) -> Any:
        from river import drift  # noqa: PLC0415 - takes half a second, and is needed late

        adwin = drift.ADWIN(delta=self._delta)
        for x in self._inputs:
            adwin.update(x)
        return adwin

    def _settings(self) -> dict[str, JSON]:
        return {"detector": "adwin", "delta": self._delta, "memory": self._memory}
