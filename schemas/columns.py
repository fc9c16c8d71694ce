"""Events as columns: Arrow for the store, numpy views of it for what is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.column_builder import ColumnBuilder
from schemas.event import RequestEvent
from schemas.event_struct import EVENT_FIELDS

__all__ = ["EVENT_FIELDS", "PRICE_UNKNOWN", "TOKENS_UNKNOWN", "EventColumns", "values_of"]

PRICE_UNKNOWN: Final = -1
TOKENS_UNKNOWN: Final = -2


@dataclass(frozen=True, slots=True)
class EventColumns:
    """A micro-batch of events, column by column, all of the same length.

    ``batch`` has a column for each field of RequestEvent, null where unknown: times as int64,
    durations as float64, texts that repeat as dictionaries, ``event_id`` as text. ``cost_nano_usd``
    is int64 in units of 1e-9 USD with ``PRICE_UNKNOWN`` or ``TOKENS_UNKNOWN`` (below 0) for an
    unknown cost.
    """

    batch: pa.RecordBatch
    failed: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    cost_nano_usd: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.failed)

    def ints(self, name: str) -> NDArray[np.int64]:
        """Return a field without unknowns as int64."""
        return self._numpy(name).astype(np.int64, copy=False)

    def bools(self, name: str) -> NDArray[np.bool_]:
        """Return a flag field."""
        return self._numpy(name)

    def floats(self, name: str) -> NDArray[np.float64]:
        """Return a numeric field as float64, NaN where unknown."""
        return self._numpy(name).astype(np.float64, copy=False)

    def values(self, name: str) -> list[Any]:
        """Return a field as Python values, None where unknown."""
        return self.batch.column(name).to_pylist()  # type: ignore[no-any-return]

    def codes(self, name: str) -> tuple[NDArray[np.int64], list[str]]:
        """Return a field as a number for each event and the text that each number stands for.

        Unknown is the empty text. Not every text need have an event.
        """
        column = self.batch.column(name)
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        texts = column.dictionary.to_pylist()
        if column.null_count:
            column, texts = pc.fill_null(column.indices, len(texts)), [*texts, ""]
        else:
            column = column.indices
        return column.to_numpy().astype(np.int64), texts

    def event(self, place: int) -> RequestEvent:
        """Return one event as it was sent."""
        (row,) = self.batch.slice(place, 1).to_pylist()
        return RequestEvent.model_validate(row)

    def slice(self, start: int, stop: int) -> EventColumns:
        """Return the events from start to before stop, without copying."""
        if start == 0 and stop == len(self):
            return self
        part = slice(start, stop)
        return EventColumns(
            self.batch.slice(start, stop - start),
            self.failed[part],
            self.rejected[part],
            self.cost_nano_usd[part],
        )

    def take(self, places: Sequence[int] | NDArray[np.int64]) -> EventColumns:
        """Return some of the events."""
        if len(places) == len(self):
            return self
        index = np.asarray(places, np.int64)
        return EventColumns(
            self.batch.take(pa.array(index)),
            self.failed[index],
            self.rejected[index],
            self.cost_nano_usd[index],
        )

    @classmethod
    def join(cls, parts: Sequence[EventColumns]) -> EventColumns:
        """Return the events of all parts, in their order; one part at least, none empty."""
        if len(parts) == 1:
            return parts[0]
        table = pa.Table.from_batches([part.batch for part in parts]).unify_dictionaries()
        return cls(
            table.combine_chunks().to_batches()[0],
            np.concatenate([part.failed for part in parts]),
            np.concatenate([part.rejected for part in parts]),
            np.concatenate([part.cost_nano_usd for part in parts]),
        )

    @classmethod
    def from_events(
        cls, events: Sequence[RequestEvent], cost_nano_usd: NDArray[np.int64] | None = None
    ) -> EventColumns:
        """Turn events into columns; without costs every price counts as unknown."""
        builder = ColumnBuilder()
        for event in events:
            builder.add(values_of(event))
        columns = cls.from_arrays(builder.arrays())
        if cost_nano_usd is None:
            return columns
        return cls(columns.batch, columns.failed, columns.rejected, cost_nano_usd)

    @classmethod
    def from_arrays(cls, arrays: Sequence[pa.Array]) -> EventColumns:
        """Return each field's array as a column; every price counts as unknown."""
        batch = pa.RecordBatch.from_arrays(arrays, names=list(EVENT_FIELDS))
        status = pc.fill_null(batch.column("status_code"), 0).to_numpy()
        served = (status < 400) | (status >= 500)  # unknown: not known to be the request's fault
        stayed = ~batch.column("aborted").to_numpy(zero_copy_only=False)
        erred = batch.column("error_type").is_valid().to_numpy(zero_copy_only=False)
        unpriced = np.full(len(status), PRICE_UNKNOWN, np.int64)
        return cls(batch, erred & served & stayed, ~served & stayed, unpriced)

    def _numpy(self, name: str) -> NDArray[Any]:
        return self.batch.column(name).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return value.value if isinstance(value, Enum) else value


def values_of(event: RequestEvent) -> tuple[Any, ...]:
    """Return an event's plain values, in the order of ``EVENT_FIELDS``."""
    return tuple(_plain(getattr(event, name)) for name in EVENT_FIELDS)
