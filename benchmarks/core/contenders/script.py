"""What all contenders' scripts share: the task, the account of it, the line at the end."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.core.meter import Meter
from benchmarks.core.work import Work
from streams.memory import do_without_pandas, return_memory_early

__all__ = ["EVENTS_A_BATCH", "FETCH_BYTES", "Run", "Task", "report", "task"]

EVENTS_A_BATCH: Final = 5_000
"""How many events those take at once that can choose."""

FETCH_BYTES: Final = 16 * 1024 * 1024
"""How much a fetch may bring of one partition: the same for all that can choose."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a script is to read: a topic from its beginning, with a group of its own."""

    bootstrap: str
    topic: str
    group: str
    records: int
    events: int
    store: str = ""
    """Host, port and database of ClickHouse, with colons between; "" for none."""

    @property
    def records_a_batch(self) -> int:
        """Return how many records hold ``EVENTS_A_BATCH`` events, about."""
        return max(1, round(EVENTS_A_BATCH * self.records / self.events))


class Run:
    """The work on a task, measured from the first records in hand to the last event's end."""

    def __init__(self, given: Task) -> None:
        return_memory_early()  # as the worker does
        do_without_pandas()
        self._events = given.events
        self._work = Work()
        self._meter = Meter()
        self._figures: dict[str, float] = {}

    @property
    def done(self) -> bool:
        """Tell whether every event is through."""
        return bool(self._figures)

    def first(self) -> None:
        """Note that the first records are in hand."""
        self._meter.start()

    def take(self, values: Sequence[bytes | None]) -> None:
        """Do the work on some records."""
        self._meter.start()
        self._work.add(values)
        if self._work.events >= self._events and not self._figures:
            self._work.drain()
            self._figures = self._meter.stop()

    def report(self) -> None:
        """Print the result; without one the script fails.

        Raises:
            RuntimeError: events are missing.
        """
        if not self.done:
            raise RuntimeError(f"{self._work.events} of {self._events} events came")
        report(self._figures, self._work.events, self._work.totals)


def task(description: str | None) -> Task:
    """Return the task that the command line gives."""
    parser = argparse.ArgumentParser(description=description)
    for name in ("bootstrap", "topic", "group"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("records", "events"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--store", default="")
    return Task(**vars(parser.parse_args()))


def report(figures: Mapping[str, float], events: int, totals: Mapping[str, int]) -> None:
    """Print a result as one line of JSON, the last one."""
    result = json.dumps({"events": events, **figures, "totals": dict(totals)})
    sys.stdout.write(f"\n{result}\n")  # what came before may have left its line open
    sys.stdout.flush()
