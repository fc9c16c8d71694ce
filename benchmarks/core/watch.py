"""Look at the store and at a worker's memory at short intervals, while something else runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Self

from benchmarks.core.meter import rss_mb
from benchmarks.core.rig import StoreRig
from schemas.clickhouse.migrate import store_client

__all__ = ["MemoryWatch", "Sampler", "StoreWatch"]

_ROWS: Final = "SELECT count() FROM requests"
_WINDOWS: Final = """
    SELECT toUnixTimestamp64Micro(window_start), sum(requests)
    FROM windows FINAL
    GROUP BY window_start
"""


class Sampler:
    """Calls a function again and again, and once at the end, in a thread; a context manager.

    Raises at the end what the function raised.
    """

    def __init__(self, look: Callable[[], None], every_s: float) -> None:
        self._look = look
        self._every_s = every_s
        self._over = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failed is not None and kind is None:
            raise self._failed

    def _run(self) -> None:
        try:
            self._look()
            while not self._over.wait(self._every_s):
                self._look()
            self._look()
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits for this one
            self._failed = error


class StoreWatch:
    """What queries see of rows and windows, with the time when each answer was there."""

    def __init__(self, store: StoreRig) -> None:
        self._client = store_client(store.settings, store.settings.database)
        self.rows: list[tuple[int, int]] = []
        self.windows: dict[int, list[tuple[int, int]]] = {}

    def look_at_rows(self) -> None:
        """Count the rows."""
        count = int(self._client.query(_ROWS).result_rows[0][0])
        if not self.rows or count > self.rows[-1][1]:
            self.rows.append((_now_us(), count))

    def look_at_windows(self) -> None:
        """Count the requests of each window."""
        rows = self._client.query(_WINDOWS).result_rows
        now_us = _now_us()
        for start_us, requests in rows:
            seen = self.windows.setdefault(int(start_us), [])
            if not seen or requests > seen[-1][1]:
                seen.append((now_us, int(requests)))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class MemoryWatch:
    """A process's resident memory over time: (seconds since the first look, MB)."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = time.monotonic()
        self.points: list[tuple[float, float]] = []

    def look(self) -> None:
        """Note the memory of now."""
        self.points.append((time.monotonic() - self._began, rss_mb(self._pid)))


def _now_us() -> int:
    return time.time_ns() // 1_000
