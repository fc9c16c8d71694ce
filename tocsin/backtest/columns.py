"""Columns of fixed width from the store, as numpy sees them, without a Python object a value."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from numpy.typing import NDArray

from schemas.errors import TocsinError

__all__ = ["BacktestError", "fetch", "rows"]

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


def rows(client: Client, sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a small query.

    Raises:
        BacktestError: the store does not answer or refuses.
    """
    try:
        return [tuple(row) for row in client.query(sql, parameters=parameters).result_rows]
    except (ClickHouseError, OSError) as error:
        raise BacktestError(f"the store: {str(error)[:500]}") from error
