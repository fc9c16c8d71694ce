"""A rig under load, and the check that ends each of these tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.chaos.rig import Rig, RigOptions, running_rig
from tests.chaos.settle import difference_in, wait_until_in
from tests.chaos.traffic import SERIES, USERS

__all__ = ["Scene", "running_scene", "until"]

_ROWS = "SELECT count() FROM requests"


class Scene:
    """A running rig, its loads, and what they sent."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._loads: list[Load] = []
        self._events = 0

    def load(self, events: int, seconds: float, **options: Any) -> Load:
        """Start to send events; several loads may go on at once."""
        load = Load(self.rig, len(self._loads))
        load.start(events, seconds, first=self._events, seed=len(self._loads), **options)
        self._loads.append(load)
        self._events += events
        return load

    @property
    def row_count(self) -> int:
        """Return how many rows the store has."""
        return int(self.rig.value(_ROWS))

    def until_rows(self, count: int, timeout_s: float = 60) -> None:
        """Wait for rows."""
        until(lambda: self.row_count >= count, timeout_s)

    def until_sent(self) -> None:
        """Wait until the broker has acknowledged everything."""
        for load in self._loads:
            until(lambda load=load: not load.running(), 120)  # type: ignore[misc]

    def check(self, letters: int = 0, patience_s: float = 30) -> None:
        """Wait until all is in, then hold every row, window and rollup to what was sent."""
        self.until_sent()
        ledger = Ledger.load([load.out for load in self._loads], SERIES, USERS)
        assert len(ledger) == self._events
        in_time = wait_until_in(self.rig, len(ledger), patience_s, print)
        differences = difference_in(self.rig, ledger, print, letters)
        assert not differences, "\n".join(map(str, differences))
        assert in_time
        assert not self.rig.unexpected_ends

    def stop(self) -> None:
        """End what still sends."""
        for load in self._loads:
            load.stop()


@contextmanager
def running_scene(path: Path, options: RigOptions) -> Iterator[Scene]:
    """Run a rig; end everything on leaving."""
    with running_rig(path, options) as rig:
        scene = Scene(rig)
        try:
            yield scene
        finally:
            scene.stop()


def until(look: Callable[[], object], timeout_s: float = 60) -> None:
    """Wait until something is true; the bound is that of a failure."""
    deadline = time.monotonic() + timeout_s
    while not look():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s")
        time.sleep(0.1)
