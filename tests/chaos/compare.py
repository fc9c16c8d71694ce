"""Hold the store to the ledger: every row, every window, every rollup."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
from clickhouse_connect.driver.client import Client
from numpy.typing import NDArray

from tests.chaos.ledger import (
    COST_COLUMNS,
    ROLLUP_COLUMNS,
    WINDOW_COLUMNS,
    Ledger,
    Outcome,
    Series,
)

__all__ = [
    "Difference",
    "StoredRows",
    "compare",
    "compare_figures",
    "compare_rows",
    "read_rows",
    "stored_windows",
]

_MINUTE_US: Final = 60_000_000
_HOUR_US: Final = 3_600_000_000
_SHOWN: Final = 5

_ROWS: Final = """
    SELECT UUIDStringToNum(toString(event_id)), toUnixTimestamp64Micro(end_time), e2e_s,
           provider, model, model_version, route, ifNull(feature, ''), ifNull(user_id, ''),
           multiIf(rejected, 3, aborted, 4, failed AND status_code = 500, 1, failed, 2, 0),
           ifNull(toInt64(input_tokens), -1), ifNull(toInt64(cached_input_tokens), -1),
           ifNull(toInt64(output_tokens), -1),
           ifNull(toInt64(cost_usd * 1000000000), -1),
           kafka_partition, kafka_offset, kafka_index
    FROM requests
"""
_SERIES: Final = ("provider", "model", "model_version", "route", "feature")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be: what kind, how many of it, and the first ones."""

    kind: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return "\n    ".join((f"{self.kind}: {self.count}", *self.examples))


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Table ``requests`` as arrays of one length; ``values`` has one entry a row for each column.

    ``values`` holds what EVENT names "end_us", "e2e_s", "outcome", "input", "cached", "output",
    "cost" (below 0 unknown) and, as text, the series and the user.
    """

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    values: Mapping[str, NDArray[Any]]
    places: NDArray[np.int64]

    def place(self, row: int) -> str:
        """Say from where a row came."""
        partition, offset, index = self.places[row].tolist()
        return f"partition {partition} offset {offset} index {index}"


def compare(client: Client, ledger: Ledger, window_us: int, letters: int = 0) -> list[Difference]:
    """Return all differences between the store and what was sent."""
    rows = read_rows(client, ledger)
    found = compare_rows(ledger, rows)
    numbers = ledger.number(rows.high, rows.low)

    def of_window(key: tuple[Any, ...]) -> str:
        return _context(ledger, rows, numbers, window_us, key)

    figures = (
        ("window", WINDOW_COLUMNS, ledger.windows(window_us), stored_windows(client), of_window),
        ("minute", ROLLUP_COLUMNS, ledger.rollup(_MINUTE_US), _minutes(client), None),
        ("cost", COST_COLUMNS, ledger.costs(_HOUR_US), _costs(client), None),
    )
    for kind, columns, wanted, stored, context in figures:
        found += compare_figures(kind, columns, wanted, stored, context)
    count = client.query("SELECT count() FROM dead_letters FINAL").result_rows[0][0]
    if count != letters:
        query = "SELECT reason, detail, topic, partition, offset FROM dead_letters FINAL LIMIT 5"
        examples = tuple(str(row) for row in client.query(query).result_rows)
        found.append(Difference(f"dead letters (expected {letters})", count, examples))
    return found


def compare_rows(ledger: Ledger, rows: StoredRows) -> list[Difference]:
    """Return which events are lost, doubled, strangers or changed."""
    found: list[Difference] = []
    numbers = ledger.number(rows.high, rows.low)
    strangers = np.flatnonzero(numbers < 0)
    held = np.bincount(numbers[numbers >= 0], minlength=len(ledger))

    def add(kind: str, which: NDArray[np.int64], say: Any) -> None:
        if len(which):
            found.append(Difference(kind, len(which), tuple(map(say, which[:_SHOWN].tolist()))))

    def doubled(number: int) -> str:
        where = "; ".join(rows.place(row) for row in np.flatnonzero(numbers == number).tolist())
        return f"{ledger.place_of(number)}, rows from {where}"

    add("rows lost", np.flatnonzero(held == 0), ledger.place_of)
    add("rows doubled", np.flatnonzero(held > 1), doubled)
    add("rows that nobody sent", strangers, rows.place)
    known = np.flatnonzero(numbers >= 0)
    events = ledger.events[numbers[known]]
    series = _texts(" ".join(names) for names in ledger.series)
    wanted: dict[str, NDArray[Any]] = {
        name: events[name] for name in ("end_us", "e2e_s", "outcome", "input", "cached", "output")
    }
    wanted["cost"] = np.maximum(events["cost"], -1)
    wanted["series"] = series[events["series"]]
    wanted["user"] = _texts(ledger.users)[events["user"]]
    for name, sent in wanted.items():
        stored = rows.values[name][known]

        def changed(at: int, sent: NDArray[Any] = sent, stored: NDArray[Any] = stored) -> str:
            place = ledger.place_of(int(numbers[known[at]]))
            return f"{place}: sent {sent[at]!s}, stored {stored[at]!s}"

        add(f"rows with another {name}", np.flatnonzero(sent != stored), changed)
    return found


def compare_figures(
    kind: str,
    columns: Sequence[str],
    wanted: Mapping[tuple[Any, ...], tuple[Any, ...]],
    stored: Mapping[tuple[Any, ...], tuple[Any, ...]],
    context: Any = None,
) -> list[Difference]:
    """Return which sums are missing, too many, or wrong; oldest first."""
    found = []
    keys = sorted(wanted.keys() | stored.keys(), key=str)
    wrong = [key for key in keys if wanted.get(key) != stored.get(key)]
    if wrong:
        examples = []
        for key in wrong[:_SHOWN]:
            sent, held = wanted.get(key), stored.get(key)
            if sent is None or held is None:
                text = f"{key}: {'nothing sent' if sent is None else sent}, stored {held}"
            else:
                differ = [
                    f"{name} sent {a}, stored {b}"
                    for name, a, b in zip(columns, sent, held, strict=True)
                    if a != b
                ]
                text = f"{key}: {', '.join(differ)}"
            examples.append(f"{text}{context(key) if context else ''}")
        found.append(Difference(f"wrong {kind} sums", len(wrong), tuple(examples)))
    return found


def read_rows(client: Client, ledger: Ledger) -> StoredRows:
    """Read table ``requests`` block by block."""
    parts: list[list[NDArray[Any]]] = []
    with client.query_column_block_stream(_ROWS) as blocks:
        for block in blocks:
            ids = np.frombuffer(b"".join(block[0]), ">u8").reshape(-1, 2).astype(np.uint64)
            series = _texts(" ".join(names) for names in zip(*block[3:8], strict=True))
            user = _texts(block[8])
            numbers = [np.array(list(column)) for column in (block[1], block[2], *block[9:14])]
            places = np.array([list(column) for column in block[14:]], np.int64).T
            parts.append([ids[:, 0], ids[:, 1], series, user, *numbers, places])
    if not parts:
        none = np.empty(0, np.int64)
        parts.append([none.astype(np.uint64)] * 2 + [none] * 9 + [none.reshape(0, 3)])
    high, low, series, user, end, e2e, outcome, read, cached, written, cost, places = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    values = {
        "end_us": end,
        "e2e_s": e2e,
        "outcome": outcome,
        "input": read,
        "cached": cached,
        "output": written,
        "cost": cost,
        "series": series,
        "user": user,
    }
    return StoredRows(high, low, values, places)


def _texts(texts: Iterable[str]) -> NDArray[Any]:
    """Return texts as an array that holds each different one once."""
    return np.array([sys.intern(text) for text in texts], object)


def stored_windows(client: Client) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    sums = ", ".join(name if name != "cost_nano_usd" else "cost_usd" for name in WINDOW_COLUMNS)
    query = f"""
        SELECT toUnixTimestamp64Micro(window_start), {", ".join(_SERIES)}, {sums}
        FROM windows FINAL
    """  # noqa: S608 - names of columns from above
    return _figures(client, query, 6)


def _minutes(client: Client) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return _rollup(client, "performance_1m", _SERIES, ROLLUP_COLUMNS)


def _costs(client: Client) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    labels = ("provider", "model", "feature", "user_id")
    return _rollup(client, "cost_1h", labels, COST_COLUMNS)


def _rollup(
    client: Client, table: str, labels: Sequence[str], columns: Sequence[str]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    names = (name if name != "cost_nano_usd" else "cost_usd" for name in columns)
    sums = ", ".join(f"sum({name})" for name in names)
    keys = ", ".join(("time", *labels))
    query = f"""
        SELECT toInt64(toUnixTimestamp(time)) * 1000000, {", ".join(labels)}, {sums}
        FROM {table}
        GROUP BY {keys}
    """  # noqa: S608 - names of tables and columns from above
    return _figures(client, query, 1 + len(labels))


def _figures(client: Client, query: str, keys: int) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in client.query(query).result_rows:
        values = tuple(
            int(value.scaleb(9)) if isinstance(value, Decimal) else value for value in row[keys:]
        )
        key = tuple(row[:keys])
        # A window with labels beyond the usual ones would be a second row: show it as wrong.
        found[key] = values if key not in found else (found[key], values)
    return found


def _context(
    ledger: Ledger, rows: StoredRows, numbers: NDArray[np.int64], size_us: int, key: Any
) -> str:
    """Say which events make up a window, where they stand, and what the rows have of it."""
    start_us, *labels = key
    provider, model, version, route, feature = labels
    series: Series = (provider, model, version, route, feature)
    members = ledger.members(size_us, start_us, series)
    events = ledger.events[members]
    lines = [f"its rows: {np.isin(numbers, members).sum()} of {len(members)} events sent"]
    for partition in np.unique(events["partition"]).tolist():
        offsets = events["offset"][events["partition"] == partition]
        lines.append(
            f"partition {partition}: {len(offsets)} events, offsets {offsets.min()}.."
            f"{offsets.max()}: {_ranges(offsets.tolist())}"
        )
    failed = int((events["outcome"] == Outcome.FAILED).sum())
    ids = ", ".join(str(ledger.id_of(number)) for number in members[:3].tolist())
    lines.append(f"{failed} failed; such as {ids}")
    return "".join(f"\n        {line}" for line in lines)


def _ranges(offsets: Iterable[int]) -> str:
    """Write offsets with how many events each holds."""
    held: dict[int, int] = {}
    for offset in offsets:
        held[offset] = held.get(offset, 0) + 1
    texts = [f"{offset}x{count}" for offset, count in sorted(held.items())]
    return " ".join(texts[:40]) + (" ..." if len(texts) > 40 else "")
