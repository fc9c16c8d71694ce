"""Wait until everything is in, and say what is not as it was sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from tests.chaos.compare import Difference, compare, stored_windows
from tests.chaos.ledger import Ledger
from tests.chaos.partials import partials_of, tell
from tests.chaos.rig import Rig

__all__ = ["difference_in", "wait_until_in"]

_LOOK_S: Final = 0.5
_TELL_S: Final = 5.0
_TOLD: Final = 200
_ROWS: Final = "SELECT count() FROM requests"
_COUNTED: Final = "SELECT sum(requests) FROM windows FINAL"

Say = Callable[[str], None]


def wait_until_in(rig: Rig, total: int, patience_s: float, say: Say = lambda _: None) -> bool:
    """Wait until rows and windows hold all events, and a moment more for what comes twice.

    Returns:
        False when nothing more came in for ``patience_s``.
    """
    before, since, told = (0, 0), time.monotonic(), 0.0
    while True:
        rig.supervise()
        rows, counted = held = _held(rig)
        if rows >= total and counted >= total:
            break
        now = time.monotonic()
        if held != before:
            before, since = held, now
        if now - since > patience_s:
            say(f"nothing for {patience_s:g} s: {rows} rows, {counted} in windows, of {total}")
            return False
        if now - told > _TELL_S:
            told = now
            say(f"{rows} rows, {counted} in windows, of {total}")
        time.sleep(_LOOK_S)
    time.sleep(2 * rig.window_us / 1e6)
    for number in range(len(rig.workers)):
        rig.scrape(number)
    return True


def difference_in(
    rig: Rig, ledger: Ledger, say: Say = lambda _: None, letters: int = 0
) -> list[Difference]:
    """Compare, and for wrong windows say what their partials are."""
    found = compare(rig.client, ledger, rig.window_us, letters)
    for difference in found:
        say(str(difference))
    wrong = _wrong_windows(rig, ledger)
    if wrong:
        partials = asyncio.run(partials_of(rig.broker.bootstrap, wrong[:_TOLD]))
        more = rig.path / "wrong-windows.txt"
        more.write_text(tell(partials))
        say(f"{tell({wrong[0]: partials[wrong[0]]})}\n(more in {more})")
    return found


def _wrong_windows(rig: Rig, ledger: Ledger) -> list[tuple[Any, ...]]:
    wanted, stored = ledger.windows(rig.window_us), stored_windows(rig.client)
    keys = sorted(wanted.keys() | stored.keys(), key=str)
    return [key for key in keys if wanted.get(key) != stored.get(key)]


def _held(rig: Rig) -> tuple[int, int]:
    return int(rig.value(_ROWS)), int(rig.value(_COUNTED))
