"""Events as columns: one pass turns a micro-batch into what numpy and ClickHouse take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.event import RequestEvent

__all__ = ["EVENT_FIELDS", "PRICE_UNKNOWN", "TOKENS_UNKNOWN", "EventColumns"]

EVENT_FIELDS: Final = tuple(RequestEvent.model_fields)

PRICE_UNKNOWN: Final = -1
TOKENS_UNKNOWN: Final = -2

_row = attrgetter(*EVENT_FIELDS)


@dataclass(frozen=True, slots=True)
class EventColumns:
    """A micro-batch of events, column by column, all of the same length.

    ``fields`` holds Python values by RequestEvent's field names; the arrays are what detectors
    compute with. ``NaN`` stands for unknown in float arrays. ``cost_nano_usd`` is int64 in units
    of 1e-9 USD with ``PRICE_UNKNOWN`` or ``TOKENS_UNKNOWN`` (below 0) for an unknown cost.
    """

    fields: Mapping[str, Sequence[Any]]
    failed: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    cost_nano_usd: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.failed)

    def ints(self, name: str) -> NDArray[np.int64]:
        """Return a field without unknowns as int64."""
        return np.asarray(self.fields[name], dtype=np.int64)

    def bools(self, name: str) -> NDArray[np.bool_]:
        """Return a flag field."""
        return np.asarray(self.fields[name], dtype=np.bool_)

    def floats(self, name: str) -> NDArray[np.float64]:
        """Return a numeric field as float64, NaN where unknown."""
        return np.asarray(self.fields[name], dtype=np.float64)

    @classmethod
    def from_events(
        cls, events: Sequence[RequestEvent], cost_nano_usd: NDArray[np.int64] | None = None
    ) -> EventColumns:
        """Turn events into columns; without costs every price counts as unknown."""
        columns = list(zip(*map(_row, events), strict=True)) or [()] * len(EVENT_FIELDS)
        fields = dict(zip(EVENT_FIELDS, columns, strict=True))
        status = np.asarray(fields["status_code"], dtype=np.int64)
        aborted = np.asarray(fields["aborted"], dtype=np.bool_)
        rejected = (status >= 400) & (status < 500) & ~aborted
        erred = np.fromiter((e is not None for e in fields["error_type"]), np.bool_, len(events))
        costs = (
            np.full(len(events), PRICE_UNKNOWN, np.int64)
            if cost_nano_usd is None
            else cost_nano_usd
        )
        return cls(fields, erred & ~rejected & ~aborted, rejected, costs)
