"""The work on a micro-batch: decode, price, windows. Every contender that gets batches does this.

These are the calls that Tocsin's own worker makes; nothing else here follows their interface.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from detectors.window import WindowStore
from schemas.codec import decode_records
from schemas.pricing import load_price_book
from schemas.settings import StreamSettings
from schemas.window import WindowPartial

__all__ = ["FLUSH_S", "Work", "add_partials", "no_totals"]

FLUSH_S: Final = StreamSettings().flush_s


def no_totals() -> dict[str, int]:
    """Return the sums that the workload's totals have, of nothing."""
    names = ("requests", "errors", "input_tokens", "output_tokens", "cost_nano_usd")
    return dict.fromkeys(names, 0)


def add_partials(totals: dict[str, int], partials: Sequence[WindowPartial]) -> None:
    """Add partial windows to sums."""
    for partial in partials:
        for name in totals:
            totals[name] += getattr(partial, name)


class Work:
    """Takes record values; gathers 10 s windows and empties them as often as the worker does.

    Attributes:
        events: how many events were taken.
        totals: sums over the windows drained so far.
    """

    def __init__(self) -> None:
        settings = StreamSettings()
        self._future_us = round(settings.future_s * 1e6)
        self._max_bytes = settings.max_record_bytes
        self._prices = load_price_book()
        self._windows = WindowStore(settings.window_us, settings.dimensions)
        self._drained_at = time.monotonic()
        self.events = 0
        self.totals = no_totals()

    def add(self, values: Sequence[bytes | None]) -> None:
        """Decode, price and count some records.

        Raises:
            ValueError: a record is refused, which no record of the workload may be.
        """
        decoded = decode_records(
            values,
            now_us=time.time_ns() // 1_000,
            future_us=self._future_us,
            max_bytes=self._max_bytes,
        )
        if decoded.refused:
            raise ValueError(f"a record was refused: {decoded.refused[0].detail}")
        columns = decoded.columns
        columns = replace(columns, cost_nano_usd=self._prices.cost_columns(columns))
        self._windows.add(columns)
        self.events += len(columns)
        if time.monotonic() - self._drained_at >= FLUSH_S:
            self.drain()

    def drain(self) -> None:
        """Close the account of what was gathered since the last time."""
        add_partials(self.totals, self._windows.drain())
        self._drained_at = time.monotonic()
