"""What was sent, event by event, and the figures that follow from it.

One numpy record an event (about 80 bytes), so that half a million of them are no burden. Nothing
here is taken from the code under test: costs are whole nano-dollars a token, windows whole
divisions, sums integer sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COST_COLUMNS",
    "EVENT",
    "NO_PRICE",
    "NO_TOKENS",
    "ROLLUP_COLUMNS",
    "UNKNOWN",
    "WINDOW_COLUMNS",
    "Ledger",
    "Outcome",
    "Series",
]

UNKNOWN: Final = -1
NO_PRICE: Final = -1
NO_TOKENS: Final = -2

EVENT: Final = np.dtype(
    [
        ("high", "u8"),  # the event id's two halves; the low one ends with the event's number
        ("low", "u8"),
        ("end_us", "i8"),
        ("e2e_s", "f8"),
        ("series", "u2"),
        ("user", "u2"),
        ("outcome", "u1"),
        ("input", "i4"),  # tokens, UNKNOWN where the server did not tell
        ("cached", "i4"),
        ("output", "i4"),
        ("cost", "i8"),  # nano-dollars, NO_PRICE, NO_TOKENS
        ("partition", "i2"),  # where the broker put it, -1 while it has not said so
        ("offset", "i8"),
        ("index", "i4"),
    ]
)

_NUMBER: Final = np.uint64(0xFFFF_FFFF)

Series = tuple[str, str, str, str, str]
"""Provider, model, version, route, feature ("" for none)."""


class Outcome:
    """How a request ended."""

    GOOD: Final = 0
    FAILED: Final = 1  # 500
    BROKEN: Final = 2  # 200, and an error after the stream began
    REJECTED: Final = 3  # 400
    ABORTED: Final = 4  # the client went away


WINDOW_COLUMNS: Final = (
    "requests",
    "errors",
    "rejected",
    "aborted",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "tokens_unknown",
    "cost_nano_usd",
    "cost_unknown",
    "price_unknown",
)
ROLLUP_COLUMNS: Final = WINDOW_COLUMNS
COST_COLUMNS: Final = (
    "requests",
    "input_tokens",
    "output_tokens",
    "cost_nano_usd",
    "cost_unknown",
    "price_unknown",
)

Figures = dict[tuple[Any, ...], tuple[int | None, ...]]
"""Sums by start (microseconds) and labels; None is a sum of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All events that were sent, by their number.

    Attributes:
        events: dtype EVENT, shape (n,); event number k stands at k.
        series: what an event's ``series`` means.
        users: what an event's ``user`` means.
    """

    events: NDArray[np.void]
    series: Sequence[Series]
    users: Sequence[str]

    def __len__(self) -> int:
        return len(self.events)

    @classmethod
    def load(cls, paths: Iterable[Path], series: Sequence[Series], users: Sequence[str]) -> Self:
        """Read what senders wrote, one after the other."""
        parts = [np.load(path) for path in paths]
        return cls(np.concatenate(parts) if parts else np.empty(0, EVENT), series, users)

    def number(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the events' numbers, -1 for ids that nobody sent."""
        if not len(self):
            return np.full(len(low), -1)
        number = (low & _NUMBER).astype(np.int64)
        known = number < len(self)
        at = np.where(known, number, 0)
        same = (self.events["high"][at] == high) & (self.events["low"][at] == low)
        return np.where(known & same, number, -1)

    def id_of(self, number: int) -> UUID:
        """Return an event's id."""
        event = self.events[number]
        return UUID(int=(int(event["high"]) << 64) | int(event["low"]))

    def place_of(self, number: int) -> str:
        """Say where an event stands in the log."""
        event = self.events[number]
        if event["partition"] < 0:
            return f"{self.id_of(number)} at an unknown place"
        place = f"partition {event['partition']} offset {event['offset']} index {event['index']}"
        return f"{self.id_of(number)} at {place}"

    def failed(self) -> NDArray[np.bool_]:
        """Tell which events are the service's faults."""
        outcome = self.events["outcome"]
        return np.isin(outcome, (Outcome.FAILED, Outcome.BROKEN))

    def windows(self, size_us: int) -> Figures:
        """Return WINDOW_COLUMNS by (start, *series) of windows of this length."""
        no_price = self.events["cost"] == NO_PRICE
        return self._sums(size_us, WINDOW_COLUMNS, no_price, unknown_tokens=0)

    def rollup(self, size_us: int) -> Figures:
        """Return ROLLUP_COLUMNS by (start, *series); sums of which nothing is known are None."""
        return self._sums(size_us, ROLLUP_COLUMNS, self._unpriced(), unknown_tokens=None)

    def costs(self, size_us: int) -> Figures:
        """Return COST_COLUMNS by (start, provider, model, feature, user)."""
        of_series = [(provider, model, feature) for provider, model, _, _, feature in self.series]
        names = sorted(set(of_series))
        code = np.array([names.index(name) for name in of_series])[self.events["series"]]
        keys = code * len(self.users) + self.events["user"]
        labels = [(*name, user) for name in names for user in self.users]
        return self._group(size_us, keys, labels, COST_COLUMNS, self._unpriced(), None)

    def members(self, size_us: int, start_us: int, series: Series) -> NDArray[np.int64]:
        """Return the numbers of a window's events."""
        code = list(self.series).index(series) if series in self.series else -1
        end = self.events["end_us"]
        mine = (end >= start_us) & (end < start_us + size_us) & (self.events["series"] == code)
        return np.flatnonzero(mine)

    def _unpriced(self) -> NDArray[np.bool_]:
        known = (self.events["input"] >= 0) & (self.events["output"] >= 0)
        return (self.events["cost"] < 0) & known

    def _sums(
        self,
        size_us: int,
        columns: Sequence[str],
        no_price: NDArray[np.bool_],
        unknown_tokens: int | None,
    ) -> Figures:
        keys = self.events["series"].astype(np.int64)
        return self._group(size_us, keys, list(self.series), columns, no_price, unknown_tokens)

    def _group(
        self,
        size_us: int,
        keys: NDArray[np.int64],
        labels: Sequence[tuple[str, ...]],
        columns: Sequence[str],
        no_price: NDArray[np.bool_],
        unknown_tokens: int | None,
    ) -> Figures:
        """Add up by start and key; a token sum without any known part is ``unknown_tokens``."""
        events = self.events
        if not len(events):
            return {}
        both = (events["end_us"] // size_us) * len(labels) + keys
        groups, place = np.unique(both, return_inverse=True)

        def total(values: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64]:
            sums = np.zeros(len(groups), np.int64)
            np.add.at(sums, place, values.astype(np.int64))
            return sums

        def known(name: str, otherwise: int | None) -> list[int | None]:
            there = events[name] >= 0
            sums = total(np.where(there, events[name], 0))
            return [
                value if count else otherwise
                for value, count in zip(sums.tolist(), total(there).tolist(), strict=True)
            ]

        outcome = events["outcome"]
        figures: dict[str, list[int | None]] = {
            "requests": total(np.ones(len(events), np.int64)).tolist(),
            "errors": total(self.failed()).tolist(),
            "rejected": total(outcome == Outcome.REJECTED).tolist(),
            "aborted": total(outcome == Outcome.ABORTED).tolist(),
            "input_tokens": known("input", unknown_tokens),
            "cached_input_tokens": known("cached", unknown_tokens),
            "output_tokens": known("output", unknown_tokens),
            "tokens_unknown": total((events["input"] < 0) | (events["output"] < 0)).tolist(),
            "cost_nano_usd": known("cost", None),
            "cost_unknown": total(events["cost"] < 0).tolist(),
            "price_unknown": total(no_price).tolist(),
        }
        rows = zip(*(figures[name] for name in columns), strict=True)
        return {
            (int(group) // len(labels) * size_us, *labels[int(group) % len(labels)]): row
            for group, row in zip(groups.tolist(), rows, strict=True)
        }
