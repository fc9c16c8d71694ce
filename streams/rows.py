"""Messages as rows: which table, which columns, in which form.

A column is named as its field, without the ``_us`` of times. Times go to the store as whole
microseconds, which is what DateTime64(6) is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from detectors.closed_window import Window
from detectors.figures import SKETCHES
from detectors.packed import pack
from schemas.base import Message
from schemas.columns import EVENT_FIELDS, EventColumns
from streams.batch import Origin

__all__ = ["SKETCH_COLUMNS", "WINDOW_DIMENSIONS", "columns_of", "event_rows", "window_rows"]

_TIMES: Final = frozenset(name for name in EVENT_FIELDS if name.endswith("_us"))
_TIME: Final = pa.timestamp("us", "UTC")
_JSON: Final = frozenset({"before", "after", "inverse"})


def event_rows(columns: EventColumns, origin: Origin) -> pa.Table:
    """Return a micro-batch as the columns of table ``requests``."""
    names, arrays = [], []
    for name, array in zip(EVENT_FIELDS, columns.batch.columns, strict=True):
        names.append(name.removesuffix("_us"))
        arrays.append(array.cast(_TIME) if name in _TIMES else array)
    extra = {
        "failed": pa.array(columns.failed),
        "rejected": pa.array(columns.rejected),
        "cost_usd": _usd(columns.cost_nano_usd),
        "kafka_log": _constant(origin.log_id, len(columns)),
        "kafka_topic": _constant(origin.topic, len(columns)),
        "kafka_partition": pa.array(origin.partitions.astype(np.uint16)),
        "kafka_offset": pa.array(origin.offsets.astype(np.uint64)),
        "kafka_index": pa.array(origin.indexes.astype(np.uint32)),
    }
    return pa.Table.from_arrays([*arrays, *extra.values()], names=[*names, *extra])


def _usd(nano: NDArray[np.int64]) -> pa.Array:
    """Return nano-dollars as exact decimal dollars, null where unknown (below 0)."""
    known = pa.array(nano >= 0)
    words = np.zeros((len(nano), 2), np.int64)  # 128 bits, the low half first
    words[:, 0] = np.maximum(nano, 0)
    buffers = [known.buffers()[1], pa.py_buffer(words)]
    return pa.Array.from_buffers(pa.decimal128(18, 9), len(nano), buffers)


def _constant(text: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [text])


WINDOW_DIMENSIONS: Final = ("provider", "model", "model_version", "route", "feature")
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


SKETCH_COLUMNS: Final = {name: f"{name.removesuffix('_s')}_sketch" for name in SKETCHES}
"""The quantities that windows sketch, and where table ``windows`` keeps them."""


def window_rows(windows: Sequence[Window]) -> dict[str, Sequence[Any]]:
    """Return closed windows as the columns of table ``windows``."""
    rows: dict[str, Sequence[Any]] = {
        "window_start": [window.start_us for window in windows],
        "window_end": [window.end_us for window in windows],
        "labels": [
            {k: v for k, v in window.labels.items() if k not in WINDOW_DIMENSIONS}
            for window in windows
        ],
        "cost_usd": [window.cost_usd for window in windows],
        "output_tokens_per_s": [window.output_tokens_per_s_total for window in windows],
    }
    for name in WINDOW_DIMENSIONS:
        rows[name] = [window.labels.get(name, "") for window in windows]
    for name in _WINDOW_COUNTS:
        rows[name] = [getattr(window, name) for window in windows]
    for sketch in ("ttft", "e2e", "tpot"):
        for label, q in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99)):
            rows[f"{sketch}_{label}_s"] = [window.p(f"{sketch}_s", q) for window in windows]
    for name, column in SKETCH_COLUMNS.items():
        rows[column] = [
            pack(window.sketches[name]) if name in window.sketches else b"" for window in windows
        ]
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
    "approvers": [],
    "expires": None,
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
