"""Batch records that are new each time at the cost of a few text replacements.

Full load for minutes needs more events than can be made meanwhile. So some batches are made once,
with ids that share their beginning and times that share all but their last 10 seconds; both are
replaced in the JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from benchmarks.core.workload import Workload
from schemas.codec import encode_batch
from schemas.event import RequestEvent

__all__ = ["BLOCK_US", "Template", "templates"]

BLOCK_US: Final = 10_000_000
"""Events of one record end within so long: the last seven digits of a time."""

_BASE: Final = 150_000_000  # the block in which the templates' events end
_ID: Final = b'"event_id":"ffffffff-ffff'
_START: Final = re.compile(rb'"start_time_us":(\d{9})\d{7}')


class Template:
    """One batch record; ``stamp`` gives it ids and times of its own.

    Args:
        events: their ends lie within the block of the templates.

    Attributes:
        events: how many there are.
    """

    def __init__(self, events: Iterable[RequestEvent]) -> None:
        marked = [_marked(event) for event in events]
        self.events = len(marked)
        self._value = encode_batch(marked)
        self._starts = sorted(set(_START.findall(self._value)))

    def stamp(self, number: int, block: int) -> bytes:
        """Return the record's value with times in a block and ids that no other number gives.

        Args:
            number: up to 2^48, such as milliseconds plus a count.
            block: wall clock in units of ``BLOCK_US``.
        """
        digits = f"{number:012x}"
        value = self._value.replace(_ID, f'"event_id":"{digits[:8]}-{digits[8:]}'.encode()).replace(
            b'"end_time_us":%d' % _BASE, b'"end_time_us":%d' % block
        )
        for start in self._starts:
            moved = int(start) - _BASE + block
            value = value.replace(b'"start_time_us":' + start, b'"start_time_us":%d' % moved)
        return value


def templates(count: int, events: int, seed: int = 1) -> list[Template]:
    """Return some templates whose events are spread evenly over the block."""
    rate = count * events / (BLOCK_US / 1e6 * 0.95)
    every = [
        event
        for event in Workload(count * events, _BASE * BLOCK_US, rate, seed)
        if event.end_time_us // BLOCK_US == _BASE
    ]
    return [Template(every[number::count]) for number in range(count)]


def _marked(event: RequestEvent) -> RequestEvent:
    rest = event.event_id.int & ((1 << 80) - 1)
    return event.model_copy(update={"event_id": UUID(int=0xFFFF_FFFF_FFFF << 80 | rest)})
