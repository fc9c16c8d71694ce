"""Messages as rows: which table, which columns, in which form."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import orjson
from pydantic import BaseModel

from schemas.columns import EVENT_FIELDS, EventColumns
from schemas.pricing import NANO

__all__ = ["event_rows", "message_rows", "utc"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NULLABLE_NAMES: Final = frozenset({"feature", "user_id", "plan", "lora_adapter", "error_type"})


def utc(micros: int) -> dt.datetime:
    """Return UTC microseconds as an aware datetime, exactly."""
    return _EPOCH + dt.timedelta(microseconds=micros)


def _cost(nano: int) -> Decimal | None:
    return None if nano < 0 else Decimal(nano).scaleb(-9)


def event_rows(
    columns: EventColumns,
    *,
    log_id: str,
    topic: str,
    partitions: Sequence[int],
    offsets: Sequence[int],
    indexes: Sequence[int],
) -> dict[str, Sequence[Any]]:
    """Return a micro-batch as the columns of table ``requests``."""
    rows: dict[str, Sequence[Any]] = {}
    for name in EVENT_FIELDS:
        values = columns.fields[name]
        rows[_column(name)] = [_plain(name, value) for value in values] if _needs(name) else values
    count = len(columns)
    rows["cost_usd"] = [_cost(nano) for nano in columns.cost_nano_usd.tolist()]
    rows["failed"] = columns.failed.tolist()
    rows["rejected"] = columns.rejected.tolist()
    rows["kafka_log"] = [log_id] * count
    rows["kafka_topic"] = [topic] * count
    rows["kafka_partition"] = partitions
    rows["kafka_offset"] = offsets
    rows["kafka_index"] = indexes
    return rows
