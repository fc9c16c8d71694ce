"""Records of ``llm.requests`` to event columns and back.

A record's value is one JSON object (an event) or a JSON array of them, and is decoded in one call
(``event_struct``). Only what that refuses, and what columns show to be impossible, is looked at
event by event with the model itself, which says why; a bad event never costs its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import ValidationError

from schemas.base import SCHEMA_VERSION
from schemas.column_builder import ColumnBuilder
from schemas.columns import EventColumns, values_of
from schemas.dead_letter import DeadLetterReason
from schemas.event import RequestEvent
from schemas.event_struct import EVENT_FIELDS, EventStruct

__all__ = [
    "ID_HYPHENS",
    "ID_LETTERS",
    "MIN_TIME_US",
    "Decoded",
    "Refused",
    "decode_records",
    "encode_batch",
    "id_letters",
]

MIN_TIME_US: Final = 1_577_836_800_000_000
"""2020-01-01: an event said to have ended before has a broken clock."""

_decode: Final = msgspec.json.Decoder(EventStruct | list[EventStruct]).decode  # type: ignore[valid-type]
_decode_one: Final = msgspec.json.Decoder(EventStruct).decode
_encode: Final = msgspec.json.Encoder().encode

ID_LETTERS: Final = 36
ID_HYPHENS: Final = [8, 13, 18, 23]
"""Length of an event id in its canonical form, and where its hyphens stand (RFC 9562)."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_IN_ID: Final = np.isin(np.arange(256), np.frombuffer(b"0123456789abcdef-", np.uint8))


@dataclass(frozen=True, slots=True)
class Refused:
    """One record (``index`` None) or one event that cannot be taken."""

    record: int
    index: int | None
    reason: DeadLetterReason
    detail: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """Events in the order of the log, and what was refused.

    ``records`` and ``indexes`` (int64, shape (n,)) say where each event stood: in which record of
    the micro-batch, at which place of a batch record.
    """

    columns: EventColumns
    records: NDArray[np.int64]
    indexes: NDArray[np.int64]
    refused: list[Refused]

    @property
    def events(self) -> list[RequestEvent]:
        """Return the events themselves, for tools that have time."""
        return [self.columns.event(place) for place in range(len(self.columns))]


def encode_batch(events: Iterable[RequestEvent]) -> bytes:
    """Return events as one record's value: a JSON array."""
    return b"[" + b",".join(event.to_json() for event in events) + b"]"


def decode_records(
    values: Sequence[bytes | None], *, now_us: int, future_us: int, max_bytes: int
) -> Decoded:
    """Decode a micro-batch of record values; never raises on what they hold.

    Args:
        values: record values as Kafka gave them.
        now_us: wall clock, UTC microseconds.
        future_us: how far ahead of ``now_us`` an event may end.
        max_bytes: larger records are refused without being parsed.
    """
    taken = _Taken()
    if not _decode_singles(taken, values, max_bytes):
        for record, value in enumerate(values):
            item = _decoded(value) if value and len(value) <= max_bytes else None
            if not item:
                taken.decode_alone(record, value, max_bytes)
            else:
                taken.add_all(record, item if isinstance(item, list) else [item])
    return taken.decoded(values, now_us + future_us)


def _decode_singles(taken: _Taken, values: Sequence[Any], max_bytes: int) -> bool:
    """Decode records of one good event each; return whether that is what they are.

    One call a record: joined records take longer (2.0 against 1.1 us an event of 680 bytes, for the
    copy falls out of the cache), and torn ones could join to a whole.
    """
    builder = ColumnBuilder()
    try:
        if max(map(len, values), default=0) > max_bytes:
            return False
        builder.add_structs(map(_decode_one, values))
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError):  # None has no length
        return False
    taken.builder = builder
    taken.records = list(range(len(values)))
    taken.indexes = [0] * len(values)
    return True


def _decoded(value: bytes) -> Any:
    """Return a record's event or list of events, None for what must be looked at alone."""
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class _Taken:
    """Events taken so far and where they stood, and what was refused."""

    def __init__(self) -> None:
        self.builder = ColumnBuilder()
        self.records: list[int] = []
        self.indexes: list[int] = []
        self.refused: list[Refused] = []

    def add(self, record: int, index: int, row: tuple[Any, ...]) -> None:
        self.builder.add(row)
        self.records.append(record)
        self.indexes.append(index)

    def add_all(self, record: int, structs: list[Any]) -> None:
        self.builder.add_structs(iter(structs))
        self.records += [record] * len(structs)
        self.indexes += range(len(structs))

    def decode_alone(self, record: int, value: bytes | None, max_bytes: int) -> None:
        def refuse(reason: DeadLetterReason, detail: str, payload: bytes) -> None:
            self.refused.append(Refused(record, None, reason, detail, payload))

        if not value:
            return refuse(DeadLetterReason.EMPTY, "the record has no value", b"")
        if len(value) > max_bytes:
            detail = f"{len(value)} bytes, at most {max_bytes} are taken"
            return refuse(DeadLetterReason.TOO_LARGE, detail, value)
        try:
            document = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            return refuse(DeadLetterReason.NOT_JSON, str(error), value)
        if isinstance(document, dict):
            return self._decode_event(record, 0, document, value, alone=True)
        if not isinstance(document, list):
            detail = f"a JSON {type(document).__name__}, expected an object or an array of objects"
            return refuse(DeadLetterReason.NOT_AN_EVENT, detail, value)
        if not document:
            return refuse(DeadLetterReason.EMPTY, "an array without events", value)
        for index, item in enumerate(document):
            self._decode_event(record, index, item, orjson.dumps(item), alone=False)
        return None

    def decoded(self, values: Sequence[bytes | None], latest_us: int) -> Decoded:
        """Return what was taken, less what its columns show to be impossible."""
        columns = EventColumns.from_arrays(self.builder.arrays())
        suspects = _suspects(columns, latest_us)
        if suspects.any():
            judged = self._without(suspects, columns, values, latest_us)
            return judged.decoded(values, latest_us)
        return Decoded(
            columns,
            np.asarray(self.records, np.int64),
            np.asarray(self.indexes, np.int64),
            self.refused,
        )

    def _without(
        self,
        suspects: NDArray[np.bool_],
        columns: EventColumns,
        values: Sequence[bytes | None],
        latest_us: int,
    ) -> _Taken:
        """Return the same with each suspect decoded by the model, or refused."""
        judged = _Taken()
        judged.refused = self.refused
        rows = zip(*map(columns.values, EVENT_FIELDS), strict=True)
        places = zip(rows, self.records, self.indexes, suspects.tolist(), strict=True)
        for row, record, index, suspect in places:
            if not suspect:
                judged.add(record, index, row)
                continue
            struct = EventStruct(**dict(zip(EVENT_FIELDS, row, strict=True)))
            payload = _encode(struct)
            alone = (values[record] or b"").lstrip()[:1] == b"{"
            impossible = _impossible_time(struct, latest_us)
            if impossible is None:
                judged._decode_event(record, index, orjson.loads(payload), payload, alone=alone)
            else:
                place = None if alone else index
                judged.refused.append(Refused(record, place, *impossible, payload))
        return judged

    def _decode_event(
        self, record: int, index: int, item: Any, payload: bytes, *, alone: bool
    ) -> None:
        reason, detail = None, ""
        if not isinstance(item, dict):
            reason = DeadLetterReason.NOT_AN_EVENT
            detail = f"a JSON {type(item).__name__}, expected an object"
        elif "schema_version" in item and item["schema_version"] != SCHEMA_VERSION:
            reason = DeadLetterReason.UNKNOWN_SCHEMA_VERSION
            detail = f"schema_version {item['schema_version']!r:.100}, known is {SCHEMA_VERSION}"
        else:
            try:
                # JSON mode: the same rules as for a whole record
                event = RequestEvent.model_validate_json(payload)
            except ValidationError as error:
                reason, detail = _classify(error)
            else:
                self.add(record, index, values_of(event))
        if reason is not None:
            place = None if alone else index
            self.refused.append(Refused(record, place, reason, detail, payload))


def _suspects(columns: EventColumns, latest_us: int) -> NDArray[np.bool_]:
    """Return which events break a rule that spans fields, or have an id that is no plain UUID."""
    start, end = columns.ints("start_time_us"), columns.ints("end_time_us")
    read, cached = columns.floats("input_tokens"), columns.floats("cached_input_tokens")
    impossible = (end < start) | (end > latest_us) | (start < MIN_TIME_US)
    return impossible | (cached > read) | ~_plain_ids(columns.batch.column("event_id"))


def _plain_ids(ids: pa.StringArray) -> NDArray[np.bool_]:
    """Return which ids are UUIDs in their canonical form: lower case, with hyphens."""
    if not pc.all(pc.equal(pc.binary_length(ids), ID_LETTERS)).as_py():
        matches = (_UUID.fullmatch(event_id) is not None for event_id in ids.to_pylist())
        return np.fromiter(matches, np.bool_, len(ids))
    letters = id_letters(ids)
    hyphens = letters == ord("-")
    right: NDArray[np.bool_] = (
        _IN_ID[letters].all(axis=1)
        & hyphens[:, ID_HYPHENS].all(axis=1)
        & (hyphens.sum(axis=1) == len(ID_HYPHENS))
    )
    return right


def id_letters(ids: pa.StringArray) -> NDArray[np.uint8]:
    """Return the letters of ids that all have ``ID_LETTERS`` bytes, shape (n, ID_LETTERS)."""
    if not len(ids):
        return np.empty((0, ID_LETTERS), np.uint8)
    _, ends, letters = ids.buffers()
    start = int(np.frombuffer(ends, np.int32, 1, ids.offset * 4)[0])
    return np.frombuffer(letters, np.uint8, len(ids) * ID_LETTERS, start).reshape(-1, ID_LETTERS)


def _impossible_time(struct: Any, latest_us: int) -> tuple[DeadLetterReason, str] | None:
    """Return why the event's times cannot be, None when they can."""
    if struct.end_time_us > latest_us:
        late_us = struct.end_time_us - latest_us
        detail = f"end_time_us {struct.end_time_us} is {late_us} us too late"
        return DeadLetterReason.TIME_IN_FUTURE, detail
    if struct.start_time_us < MIN_TIME_US:
        detail = f"start_time_us {struct.start_time_us} is before 2020-01-01"
        return DeadLetterReason.TIME_OUT_OF_RANGE, detail
    return None


def _classify(error: ValidationError) -> tuple[DeadLetterReason, str]:
    problems = error.errors(include_url=False, include_input=False)
    kinds = {problem["type"] for problem in problems}
    places = {str(problem["loc"][0]) for problem in problems if problem["loc"]}
    detail = "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'event'}: {problem['msg']}"
        for problem in problems[:10]
    )[:2_000]
    if "extra_forbidden" in kinds:
        return DeadLetterReason.UNKNOWN_FIELD, detail
    if "missing" in kinds:
        return DeadLetterReason.MISSING_FIELD, detail
    if places & {"start_time_us", "end_time_us"} and kinds & {
        "greater_than_equal",
        "less_than_equal",
    }:
        return DeadLetterReason.TIME_OUT_OF_RANGE, detail
    if not places and "end_time_us" in detail:
        return DeadLetterReason.TIME_OUT_OF_RANGE, detail
    return DeadLetterReason.INVALID_VALUE, detail
