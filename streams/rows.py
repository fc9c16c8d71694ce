"""Messages as rows: which table, which columns, in which form.

A column is named as its field, without the ``_us`` of times. Times go to the store as whole
microseconds, which is what DateTime64(6) is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson

from detectors.closed_window import Window
from schemas.base import Message
from schemas.columns import EVENT_FIELDS, EventColumns

__all__ = ["Origin", "columns_of", "event_rows", "nano_to_usd", "window_rows"]

_TIMES: Final = frozenset(name for name in EVENT_FIELDS if name.endswith("_us"))
_JSON: Final = frozenset({"before", "after", "inverse"})


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows stood in the log, each a column."""

    log_id: str
    topic: str
    partitions: Sequence[int]
    offsets: Sequence[int]
    indexes: Sequence[int]

    def select(self, keep: Sequence[int]) -> Origin:
        """Return the origins of some rows."""
        pick: Callable[[Sequence[int]], list[int]] = lambda column: [column[i] for i in keep]
        return Origin(
            self.log_id, self.topic, pick(self.partitions), pick(self.offsets), pick(self.indexes)
        )


def nano_to_usd(nano: int) -> Decimal | None:
    """Return nano-dollars as exact dollars, None where unknown (below 0)."""
    return None if nano < 0 else Decimal(nano).scaleb(-9)


def event_rows(columns: EventColumns, origin: Origin) -> dict[str, Sequence[Any]]:
    """Return a micro-batch as the columns of table ``requests``."""
    rows: dict[str, Sequence[Any]] = {
        name.removesuffix("_us"): columns.fields[name] for name in EVENT_FIELDS
    }
    count = len(columns)
    rows["failed"] = columns.failed.tolist()
    rows["rejected"] = columns.rejected.tolist()
    rows["cost_usd"] = [nano_to_usd(nano) for nano in columns.cost_nano_usd.tolist()]
    rows["kafka_log"] = [origin.log_id] * count
    rows["kafka_topic"] = [origin.topic] * count
    rows["kafka_partition"] = origin.partitions
    rows["kafka_offset"] = origin.offsets
    rows["kafka_index"] = origin.indexes
    return rows


_WINDOW_DIMENSIONS: Final = ("provider", "model", "model_version", "route", "feature")
_WINDOW_COUNTS: Final = (
    "revision",
    "requests",
    "errors",
    "rejected",
    "aborted",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "tokens_unknown",
    "cost_unknown",
    "price_unknown",
)


def window_rows(windows: Sequence[Window]) -> dict[str, Sequence[Any]]:
    """Return closed windows as the columns of table ``windows``."""
    rows: dict[str, Sequence[Any]] = {
        "window_start": [window.start_us for window in windows],
        "window_end": [window.end_us for window in windows],
        "labels": [
            {k: v for k, v in window.labels.items() if k not in _WINDOW_DIMENSIONS}
            for window in windows
        ],
        "cost_usd": [window.cost_usd for window in windows],
        "output_tokens_per_s": [window.output_tokens_per_s_total for window in windows],
    }
    for name in _WINDOW_DIMENSIONS:
        rows[name] = [window.labels.get(name, "") for window in windows]
    for name in _WINDOW_COUNTS:
        rows[name] = [getattr(window, name) for window in windows]
    for sketch in ("ttft", "e2e", "tpot"):
        for label, q in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99)):
            rows[f"{sketch}_{label}_s"] = [window.p(f"{sketch}_s", q) for window in windows]
    return rows


def columns_of(messages: Sequence[Message], columns: Sequence[str]) -> dict[str, Sequence[Any]]:
    """Return messages of any kinds as the named columns; a field that one lacks is its default.

    Text columns get "" and counts 0 only where the kind of message has no such field at all.
    """
    return {column: [_value(message, column) for message in messages] for column in columns}


_ABSENT: Final[dict[str, Any]] = {
    "recovered": None,
    "value": None,
    "labels": {},
    "evidence": {},
    "matchers": [],
    "starts": None,
    "ends": None,
    "mutes_actions": None,
    "approve": None,
}


def _value(message: Message, column: str) -> Any:
    if column == "at" and hasattr(message, "requested_at_us"):
        return message.requested_at_us
    for name in (column, f"{column}_us"):
        if name in type(message).model_fields:
            value = getattr(message, name)
            if column in _JSON:
                return orjson.dumps(value).decode()
            if isinstance(value, dict) and column == "variants":
                return {key: str(item) for key, item in value.items()}
            return value
    return _ABSENT.get(column, "")
