"""Request traces of several kinds, as arrivals: when, how long a prompt, how long an answer."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import TocsinError
from serving.fleet.users import Arrival

__all__ = ["TraceError", "read_trace"]


class TraceError(TocsinError):
    """A trace cannot be read; the text names file, line and what was expected."""


def read_trace(path: Path) -> list[Arrival]:
    """Read an Azure (CSV), Mooncake (JSON lines) or plain (JSON lines) trace, first arrival at 0.

    Known are CSV with TIMESTAMP, ContextTokens, GeneratedTokens; JSON lines with ``timestamp``
    (ms), ``input_length``, ``output_length``; and JSON lines with ``offset_s``, ``input_tokens``,
    ``output_tokens``.

    Raises:
        TraceError: the file is none of these, or a line of it is wrong.
    """
    try:
        with path.open(newline="") as file:
            rows = csv.DictReader(file) if path.suffix == ".csv" else map(orjson.loads, file)
            read = _from_azure if path.suffix == ".csv" else _from_json
            arrivals = list(_numbered(path, rows, read))
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None
    if not arrivals:
        raise TraceError(f"{path}: no requests in it")
    first = min(arrival.offset_s for arrival in arrivals)
    return sorted(
        (Arrival(a.offset_s - first, a.input_tokens, a.output_tokens) for a in arrivals),
        key=lambda arrival: arrival.offset_s,
    )


def _numbered(path: Path, rows: Iterable[Any], read: Any) -> Iterator[Arrival]:
    number = 1
    iterator = iter(rows)
    while True:
        try:
            row = next(iterator)
            yield read(row)
        except StopIteration:
            return
        except (KeyError, ValueError, TypeError) as error:
            raise TraceError(
                f"{path}: line {number + (path.suffix == '.csv')}: {error!r}; "
                "expected arrival time, prompt tokens and output tokens"
            ) from None
        number += 1


def _from_azure(row: dict[str, str]) -> Arrival:
    # Seven decimals: a tenth of a microsecond more than datetime knows.
    moment = dt.datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=dt.UTC)
    return Arrival(moment.timestamp(), int(row["ContextTokens"]), int(row["GeneratedTokens"]))


def _from_json(row: dict[str, Any]) -> Arrival:
    if "offset_s" in row:
        return Arrival(float(row["offset_s"]), int(row["input_tokens"]), int(row["output_tokens"]))
    return Arrival(
        float(row["timestamp"]) / 1_000, int(row["input_length"]), int(row["output_length"])
    )
