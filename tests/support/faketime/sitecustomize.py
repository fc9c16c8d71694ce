"""Mends ``time.sleep`` under libfaketime; Python imports this by itself from PYTHONPATH.

Python sleeps until a moment of the monotonic clock. libfaketime 0.9.10 takes its own offset off
that moment although it was told to leave that clock alone: a sleep fails with EINVAL, or never
ends. ``select`` is told a duration, which stays what it is.
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select((), (), (), seconds)


time.sleep = _sleep
