"""Carry out a plan: kill and stall what it says, and start it again when it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from tests.chaos.plan import Blow
from tests.chaos.rig import Rig

__all__ = ["Strikes"]


class Strikes:
    """Carries out a plan, and starts again what it ended.

    Attributes:
        done_so_far: how many blows of each kind were struck.
    """

    def __init__(self, rig: Rig, blows: Sequence[Blow], say: Callable[[str], None]) -> None:
        self._rig = rig
        self._blows = list(blows)
        self.done_so_far: Counter[str] = Counter()
        self._say = say
        self._again: list[tuple[float, str, int]] = []
        self._down: set[int] = set()

    @property
    def down(self) -> Collection[int]:
        """Return the workers that are killed or stalled now."""
        return self._down

    @property
    def done(self) -> bool:
        """Tell whether everything was struck and stands again."""
        return not self._blows and not self._again

    def step(self, now_s: float) -> None:
        """Do what is due."""
        for due in [item for item in self._again if item[0] <= now_s]:
            self._again.remove(due)
            self._restore(*due[1:])
        while self._blows and self._blows[0].at_s <= now_s:
            if not self._strike(self._blows[0], now_s):
                return  # nothing is up to be hit: a moment later
            self.done_so_far[self._blows.pop(0).kind] += 1

    def _strike(self, blow: Blow, now_s: float) -> bool:
        rig = self._rig
        until_s = now_s + blow.down_s
        if blow.kind == "kill store":
            if rig.store.pid is None:
                return False
            self._say(f"kill the store for {blow.down_s:.1f} s")
            rig.kill_store()
            self._again.append((until_s, "store", 0))
            return True
        up = [n for n in range(len(rig.workers)) if n not in self._down]
        if not up:
            return False
        number = up[blow.pick % len(up)]
        self._down.add(number)
        if blow.kind == "kill worker":
            self._say(f"kill worker {number} for {blow.down_s:.1f} s")
            rig.scrape(number)
            rig.kill_worker(number)
            self._again.append((until_s, "worker", number))
        else:
            self._say(f"stall worker {number} for {blow.down_s:.1f} s")
            rig.stall_worker(number)
            self._again.append((until_s, "stalled", number))
        return True

    def _restore(self, what: str, number: int) -> None:
        if what == "store":
            self._rig.start_store()
            return
        self._down.discard(number)
        if what == "worker":
            self._rig.start_worker(number)
        else:
            self._rig.resume_worker(number)
