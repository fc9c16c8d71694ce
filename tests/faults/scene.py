"""A rig under load, and the check that ends each of these tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.chaos.load import Load
from tests.chaos.rig import Rig, RigOptions, running_rig
from tests.chaos.settle import difference_in, wait_until_in

__all__ = ["Scene", "running_scene", "until"]

_ROWS: Final = "SELECT count() FROM requests"
_LONGEST_S: Final = 3_600


class Scene:
    """A running rig, and the load that goes on until the check."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._load = Load(rig)

    def load(self, rate: int = 600, **options: Any) -> None:
        """Start to send so many events a second, until ``check``."""
        self._load.start(rate * _LONGEST_S, _LONGEST_S, **options)

    @property
    def row_count(self) -> int:
        """Return how many rows the store has."""
        return int(self.rig.value(_ROWS))

    def until_rows(self, count: int, timeout_s: float = 60) -> None:
        """Wait for rows."""
        until(lambda: self.row_count >= count, timeout_s)

    def until_more(self, count: int = 500) -> None:
        """Wait for more rows than there are now."""
        self.until_rows(self.row_count + count)

    def check(self, letters: int = 0, patience_s: float = 120) -> None:
        """Let the load go on for a while, end it, and hold everything to what was sent.

        The patience is that of a failure. A machine that is slow enough for workers to lose their
        sessions makes the group form anew again and again: half a minute has passed without news.
        """
        with suppress(AssertionError):  # the comparison will say more
            self.until_more()
        self._load.enough()
        until(lambda: not self._load.running(), 120)
        ledger = self._load.ledger()
        assert len(ledger)
        in_time = wait_until_in(self.rig, len(ledger), patience_s, print)
        differences = difference_in(self.rig, ledger, print, letters)
        late = "" if in_time else f"nothing new for {patience_s:g} s, and not all is in\n"
        assert not differences, late + "\n".join(map(str, differences))
        assert in_time
        assert not self.rig.unexpected_ends

    def stop(self) -> None:
        """End what still sends."""
        self._load.stop()


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
