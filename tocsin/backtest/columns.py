"""Columns of fixed width from the store, as numpy sees them, without a Python object a value."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from numpy.typing import NDArray

from schemas.errors import TocsinError

__all__ = ["BacktestError", "fetch", "fetch_arrow", "newest", "numbers_of", "rows"]

_NUMPY: Final = {"Int64": "<i8", "UInt64": "<u8", "Float64": "<f8", "UInt32": "<u4"}


class BacktestError(TocsinError):
    """Rules could not be tried on history; says what is missing."""


def fetch(
    client: Client, columns: dict[str, tuple[str, str]], tail: str, parameters: dict[str, Any]
) -> NDArray[Any]:
    """Return the rows of a query as one structured array.

    Args:
        client: the store.
        columns: name to (expression, type), the type one of Int64, UInt64, UInt32, Float64; an
            expression that is NULL becomes NaN, or 0 in an integer.
        tail: everything from FROM on, with server-side parameters.
        parameters: their values.

    Raises:
        BacktestError: the store does not answer or refuses.
    """
    chosen = ", ".join(
        f"ifNull(to{kind}({text}), {'nan' if kind == 'Float64' else '0'}) AS `{name}`"
        for name, (text, kind) in columns.items()
    )
    dtype = np.dtype([(name, _NUMPY[kind]) for name, (_, kind) in columns.items()])
    try:
        raw = client.raw_query(f"SELECT {chosen} {tail}", parameters=parameters, fmt="RowBinary")
    except (ClickHouseError, OSError) as error:
        raise BacktestError(f"the store: {str(error)[:500]}") from error
    return np.frombuffer(raw, dtype)


def fetch_arrow(
    client: Client, columns: dict[str, str], tail: str, parameters: dict[str, Any]
) -> pa.Table:
    """Return the rows of a query as Arrow columns, texts as bytes.

    Args:
        client: the store.
        columns: name to expression.
        tail: everything from FROM on, with server-side parameters.
        parameters: their values.

    Raises:
        BacktestError: the store does not answer or refuses.
    """
    chosen = ", ".join(f"{text} AS `{name}`" for name, text in columns.items())
    settings = {
        "output_format_arrow_string_as_string": 0,
        # To pack and unpack takes longer than the way there, and columns come without a copy.
        "output_format_arrow_compression_method": "none",
    }
    try:
        raw = client.raw_query(
            f"SELECT {chosen} {tail}", parameters=parameters, settings=settings, fmt="ArrowStream"
        )
    except (ClickHouseError, OSError) as error:
        raise BacktestError(f"the store: {str(error)[:500]}") from error
    return pa.ipc.open_stream(pa.py_buffer(raw)).read_all()


def numbers_of(table: pa.Table, name: str) -> NDArray[Any]:
    """Return a column of numbers; shape (n,)."""
    numbers: NDArray[Any] = table.column(name).to_numpy()
    return numbers


def newest(
    rows_: NDArray[np.uint64], ends: NDArray[np.int64], requests: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Return the places of the newest revision of each window; None when all rows are that.

    Windows only grow: of several revisions that with the most requests is the newest. Looked for
    here, because FINAL is slow over strings.

    Args:
        rows_: what, with the end, makes a row of the table; shape (n,).
        ends: the windows' ends, shape (n,).
        requests: shape (n,).
    """
    keys = rows_ ^ (ends.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return None
    order = np.lexsort((-requests, rows_, ends))
    same = (rows_[order][1:] == rows_[order][:-1]) & (ends[order][1:] == ends[order][:-1])
    result: NDArray[np.int64] = order[np.append(True, ~same)]
    return result


def rows(client: Client, sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a small query.

    Raises:
        BacktestError: the store does not answer or refuses.
    """
    try:
        return [tuple(row) for row in client.query(sql, parameters=parameters).result_rows]
    except (ClickHouseError, OSError) as error:
        raise BacktestError(f"the store: {str(error)[:500]}") from error
