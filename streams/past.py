"""What the store remembers of the past, for figures that a worker builds anew; and what it learns.

Closed windows with their sketches are in table ``windows`` before any signal is made of them; what
detectors learnt beyond them is in ``detector_memory`` before their windows' records are
acknowledged. So a new owner that reads both up to the first window it will close stands where the
one before stood at that window (docs/adr/0011).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Final, Protocol

import orjson
import pyarrow as pa
import structlog

from detectors.closed_window import Window
from detectors.errors import SketchError
from detectors.figures import COUNTS
from detectors.memory import POINTS, Memory
from detectors.packed import unpack, unpack_all
from detectors.sketch import DDSketch
from detectors.sliding import Heard
from schemas.base import Labels
from streams.inserts import Inserts, insert_each
from streams.rows import SKETCH_COLUMNS, WINDOW_DIMENSIONS

__all__ = ["Past", "PastStore"]

log = structlog.get_logger(__name__)

_SLICE_US: Final = 600_000_000
_FUTURE_US: Final = 4_102_444_800_000_000

# By its start as well, by which the table's months are told apart.
_SPAN: Final = """
    FROM windows
    WHERE window_end > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
      AND window_end < fromUnixTimestamp64Micro({before:Int64}, 'UTC')
      AND window_start > fromUnixTimestamp64Micro({since:Int64}, 'UTC') - INTERVAL 1 DAY
      AND window_start < fromUnixTimestamp64Micro({before:Int64}, 'UTC')
"""
_HEARD: Final = f"""
    SELECT {{labels}}, toUnixTimestamp64Micro(max(window_end))
    {_SPAN}
    GROUP BY {{labels}}
"""
_FIRST: Final = """
    SELECT toUnixTimestamp64Micro(window_start)
    FROM windows
    WHERE window_end <= fromUnixTimestamp64Micro({before:Int64}, 'UTC')
    LIMIT 1
"""
_NEWEST: Final = f"SELECT toUnixTimestamp64Micro(max(window_end)) {_SPAN}"
_LEARNT: Final = """
    SELECT asked, series, toUnixTimestamp64Micro(at) AS at_us, state
    FROM detector_memory
    WHERE kind = {kind:String}
      AND asked IN {asked:Array(String)}
      AND at < fromUnixTimestamp64Micro({before:Int64}, 'UTC')
    ORDER BY at DESC
    LIMIT {most:UInt32} BY asked, series
"""


class PastStore(Inserts, Protocol):
    """Takes rows and answers questions: the store."""

    async def query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query; see ``Store.query``."""

    async def query_arrow(self, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """Return the rows of a query as Arrow columns; see ``Store.query_arrow``."""


class Past:
    """Reads closed windows and what detectors learnt, and keeps what they learn.

    Every question raises StoreUnavailableError, StoreRefusedError or AbandonedError, as the store
    answered; nothing is then known.

    Args:
        store: where all of it is.
        dimensions: the labels that windows have, in the settings' order.
    """

    def __init__(self, store: PastStore, dimensions: Sequence[str]) -> None:
        self._store = store
        self._own = [name for name in dimensions if name in WINDOW_DIMENSIONS]

    async def windows(
        self, since_us: int, before_us: int = _FUTURE_US, sketches: Collection[str] = ()
    ) -> AsyncIterator[list[Window]]:
        """Yield the windows that end in (since, before), those of one end together, in order.

        Each is the newest of its revisions, under revision 0: it counts whole.

        Args:
            since_us: UTC microseconds; what ends just then is left out.
            before_us: likewise; without it, up to the newest.
            sketches: the sketched quantities that are wanted; one that a row does not hold, or
                that cannot be read, is unknown.
        """
        if before_us == _FUTURE_US:
            span = {"since": since_us, "before": before_us}
            ((newest_us,),) = await self._store.query(_NEWEST, span)
            before_us = newest_us + 1
        for low_us in range(since_us, before_us, _SLICE_US):
            table = await self._store.query_arrow(
                _select(self._own, sketches),
                {"since": low_us, "before": min(before_us, low_us + _SLICE_US + 1)},
            )
            for windows in _by_end(table, self._own, sketches):
                yield windows

    async def heard(self, since_us: int, before_us: int) -> list[Heard]:
        """Return the series of the windows that end in (since, before), each with its last end."""
        labels = ", ".join([*(f"`{name}`" for name in self._own), "labels"])
        rows = await self._store.query(
            _HEARD.replace("{labels}", labels), {"since": since_us, "before": before_us}
        )
        return [(self._labels(row[:-1]), int(row[-1])) for row in rows]

    async def newest_us(self) -> int:
        """Return the end of the newest window, 0 if there is none."""
        rows = await self._store.query(_NEWEST, {"since": 0, "before": _FUTURE_US})
        return int(rows[0][0])

    async def first_us(self, before_us: int) -> int | None:
        """Return the start of some window that ended by then, None if there is none."""
        rows = await self._store.query(_FIRST, {"before": before_us})
        return int(rows[0][0]) if rows else None

    async def learnt(self, asked: Collection[str], before_us: int) -> list[Memory]:
        """Return what was learnt by ``before_us`` for some questions, oldest first.

        Of a series' points the newest ``POINTS``, of its snapshots the newest one.
        """
        memories: list[Memory] = []
        if not asked:
            return memories
        kinds: tuple[tuple[Any, int], ...] = (("point", POINTS), ("snapshot", 1))
        for kind, most in kinds:
            rows = await self._store.query(
                _LEARNT,
                {"kind": kind, "asked": sorted(asked), "before": before_us, "most": most},
            )
            found: dict[tuple[Any, ...], Memory] = {}  # a point may be there twice
            for question, series, at_us, state in reversed(rows):
                memory = Memory(kind, question, tuple(series), at_us, orjson.loads(state))
                found[question, memory.series, at_us] = memory
            memories += found.values()
        return memories

    async def rows(self, sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a query of the caller's own; see ``Store.query``."""
        return await self._store.query(sql, parameters)

    async def keep(self, memories: Sequence[Memory]) -> None:
        """Keep what was learnt; waits for the store as long as it takes.

        Raises:
            AbandonedError: the store did not take it, and the worker is leaving.
        """
        rows: dict[str, Sequence[Any]] = {
            "kind": [memory.kind for memory in memories],
            "asked": [memory.asked for memory in memories],
            "series": [list(memory.series) for memory in memories],
            "slot": [memory.slot for memory in memories],
            "at": [memory.at_us for memory in memories],
            "state": [orjson.dumps(memory.state) for memory in memories],
            "expires": [_seconds(memory.at_us + memory.keep_us) for memory in memories],
        }
        for row in await insert_each(self._store, "detector_memory", rows):
            log.error("memory_refused", asked=memories[row.index].asked, error=row.detail[:500])

    def _labels(self, values: Sequence[Any]) -> Labels:
        return dict(zip(self._own, values, strict=False)) | dict(values[len(self._own)])


def _seconds(at_us: int) -> int:
    """Return whole seconds that fit a DateTime, which ends in 2106."""
    return int(min(at_us // 1_000_000, 2**32 - 1))


def _select(dimensions: Sequence[str], sketches: Collection[str]) -> str:
    counts = [name for name in COUNTS if name != "cost_nano_usd"]
    columns = [
        "toUnixTimestamp64Micro(window_start) AS start_us",
        "toUnixTimestamp64Micro(window_end) AS end_us",
        *(f"toString(`{name}`) AS `{name}`" for name in dimensions),
        "mapKeys(labels) AS label_names",
        "mapValues(labels) AS label_values",
        *(f"`{name}`" for name in counts),
        "toInt64(toDecimal128(ifNull(cost_usd, 0), 9) * 1000000000) AS cost_nano_usd",
        *(f"`{SKETCH_COLUMNS[name]}`" for name in sorted(sketches)),
    ]
    return (
        f"SELECT {', '.join(columns)} {_SPAN} ORDER BY window_end, requests"
        " SETTINGS output_format_arrow_string_as_string = 0"
    )


def _by_end(
    table: pa.Table, dimensions: Sequence[str], sketches: Collection[str]
) -> list[list[Window]]:
    """Return the windows of a table that is ordered by end and requests, each series' last."""
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    texts = {name: [_text(value) for value in columns[name]] for name in dimensions}
    newest: dict[tuple[int, tuple[tuple[str, str], ...]], int] = {}
    for place, end_us in enumerate(columns["end_us"]):
        labels = [(name, texts[name][place]) for name in dimensions]
        names, values = columns["label_names"][place], columns["label_values"][place]
        labels += [(_text(k), _text(v)) for k, v in zip(names, values, strict=True)]
        newest[end_us, tuple(labels)] = place
    kept = {name: _sketches(columns[SKETCH_COLUMNS[name]]) for name in sketches}
    ends: dict[int, list[Window]] = {}
    for (end_us, labels_), place in newest.items():
        found = {name: kept[name][place] for name in sketches}
        window = Window(
            columns["start_us"][place],
            end_us,
            dict(labels_),
            **{name: int(columns[name][place]) for name in COUNTS},
            sketches={name: sketch for name, sketch in found.items() if sketch is not None},
        )
        ends.setdefault(end_us, []).append(window)
    return [ends[end_us] for end_us in sorted(ends)]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _sketches(packed: Sequence[bytes]) -> list[DDSketch | None]:
    try:
        return [sketch if sketch.count else None for sketch in unpack_all(packed)]
    except SketchError:  # one by one, for the sake of the others
        return [_sketch(data) for data in packed]


def _sketch(packed: bytes) -> DDSketch | None:
    try:
        sketch = unpack(packed)
    except (
        SketchError
    ) as error:  # only a worker of another version writes what this one cannot read
        log.error("sketch_unreadable", error=str(error)[:300])
        return None
    return sketch if sketch.count else None
